"""The page's video encoder: what a browser decodes of it, when whole pictures come, and what it costs."""

from __future__ import annotations

import time
from fractions import Fraction

import numpy as np
import pytest

av = pytest.importorskip("av")
pytest.importorskip("aiortc", reason="needs aiortc: pip install 'dfanerf-rt[web]'")

import aiortc.rtcrtpsender  # noqa: E402
from aiortc.codecs import CODECS  # noqa: E402
from aiortc.codecs.h264 import H264Encoder  # noqa: E402

from dfanerf_rt.live.server.h264 import MOST_BITS_A_PIXEL, LightH264Encoder, encode_lightly  # noqa: E402

SIZE = 128
IDR = 5


def pictures(n: int, size: int = SIZE) -> list[np.ndarray]:
    """A soft pattern that wanders, (size, size, 3) uint8."""
    y, x = np.mgrid[:size, :size] / size
    waves = [np.sin(9 * x + 0.1 * k) + np.cos(7 * y - 0.07 * k) for k in range(n)]
    return [np.stack([127 + 50 * wave, 120 + 40 * wave, 110 - 30 * wave], 2).astype(np.uint8) for wave in waves]


def frame_of(picture: np.ndarray, index: int) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
    frame.pts, frame.time_base = 3600 * index, Fraction(1, 90_000)
    return frame


def units(encoder: H264Encoder, picture: np.ndarray, index: int, whole: bool = False) -> list[bytes]:
    return list(encoder._encode_frame(frame_of(picture, index), whole))


def is_whole(nal_units: list[bytes]) -> bool:
    return any(unit[0] & 31 == IDR for unit in nal_units)


def test_a_browser_sees_what_was_shown() -> None:
    encoder, decoder = LightH264Encoder(), av.CodecContext.create("h264", "r")
    shown = pictures(20)
    seen = []
    for index, picture in enumerate(shown):
        stream = b"".join(b"\0\0\0\1" + unit for unit in units(encoder, picture, index))
        seen += [frame.to_ndarray(format="rgb24") for frame in decoder.decode(av.Packet(stream))]
    seen += [frame.to_ndarray(format="rgb24") for frame in decoder.decode(None)]
    assert len(seen) == len(shown), "each picture leaves with its own call"
    errors = [np.square(a.astype(float) - b).mean() for a, b in zip(seen, shown, strict=True)]
    assert 10 * np.log10(255**2 / max(errors)) > 35.0


def test_whole_pictures_come_first_where_one_was_lost_and_where_the_size_changes() -> None:
    encoder = LightH264Encoder()
    whole = [is_whole(units(encoder, picture, k, whole=k == 6)) for k, picture in enumerate(pictures(10))]
    assert [k for k, each in enumerate(whole) if each] == [0, 6]
    assert is_whole(units(encoder, pictures(1, 2 * SIZE)[0], 10))


def test_the_bit_rate_follows_the_browser_without_a_whole_picture() -> None:
    noise = np.random.default_rng(0)
    encoder = LightH264Encoder()
    sizes, whole = [], []
    for index, picture in enumerate(pictures(150, 256)):
        if index == 75:
            encoder.target_bitrate = 0  # aiortc's least: 500 kbit/s
        grain = noise.normal(0, 12, picture.shape)
        sent = units(encoder, (picture + grain).clip(0, 255).astype(np.uint8), index)
        sizes.append(sum(map(len, sent)))
        whole.append(is_whole(sent))
    rates = [8 * 25 * np.mean(part) for part in (sizes[25:75], sizes[100:150])]
    assert rates[0] == pytest.approx(MOST_BITS_A_PIXEL * 256 * 256 * 25, rel=0.1), "and no more than is worth it"
    assert rates[1] == pytest.approx(500_000, rel=0.1)
    assert sum(whole) == 1


def test_it_costs_less_than_half_of_the_one_it_replaces() -> None:
    def cost_s(encoder: H264Encoder) -> float:
        shown = pictures(40, 256)
        for index, picture in enumerate(shown[:10]):
            units(encoder, picture, index)
        began_s = time.process_time()
        for index, picture in enumerate(shown[10:], 10):
            units(encoder, picture, index)
        return time.process_time() - began_s

    assert min(cost_s(LightH264Encoder()) for _ in range(2)) < 0.5 * min(cost_s(H264Encoder()) for _ in range(2))


def test_aiortc_takes_it_for_h264_alone() -> None:
    encode_lightly()
    encode_lightly()
    video = {codec.mimeType.lower(): codec for codec in CODECS["video"]}
    made = {name: aiortc.rtcrtpsender.get_encoder(video[name]) for name in ("video/h264", "video/vp8")}
    assert isinstance(made["video/h264"], LightH264Encoder)
    assert not isinstance(made["video/vp8"], LightH264Encoder)
