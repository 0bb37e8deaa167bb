"""H.264 for the page: aiortc's packets, from an encoder that leaves the cores to the renderer."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import aiortc.rtcrtpsender
import av
from aiortc.codecs.h264 import H264Encoder
from av.video.frame import PictureType

from dfanerf_rt.live.stages import FPS

PRESET = "superfast"
"""The preset that aiortc leaves at x264's own takes seven times as long, and gives the same PSNR at the same rate."""
MOST_BITS_A_PIXEL = 0.35
"""573 kbit/s at 256x256: twice as much is worth 0.8 dB at 41 dB, and costs twice the packets."""
WHOLE_EVERY_S = 60
"""A browser that has lost a picture asks for a whole one; those that come by themselves are for whoever cannot ask."""
BUFFER_S = 0.5
"""No more bits than those of so many seconds come at once."""


class LightH264Encoder(H264Encoder):
    """One thread, a quick preset, and a bit rate that follows the browser without a new encoder and its whole picture.

    For one video track; called by aiortc, from one thread at a time.
    """

    def _encode_frame(self, frame: av.VideoFrame, force_keyframe: bool) -> Iterator[bytes]:
        """The NAL units of a picture; ``force_keyframe`` where the browser has lost one."""
        most = round(MOST_BITS_A_PIXEL * frame.width * frame.height * FPS)
        codec: Any = self.codec
        if codec is None or (frame.width, frame.height) != (codec.width, codec.height):
            codec = self.codec = _opened(frame.width, frame.height, most)
        codec.bit_rate = min(self.target_bitrate, most)
        frame.pict_type = PictureType.I if force_keyframe else PictureType.NONE
        for packet in codec.encode(frame):
            yield from self._split_bitstream(bytes(packet))


def encode_lightly() -> None:
    """Let aiortc take :class:`LightH264Encoder` for H.264; other codecs stay as they are."""
    listed = aiortc.rtcrtpsender.get_encoder
    if getattr(listed, "is_light", False):
        return

    def get_encoder(codec: Any) -> Any:
        return LightH264Encoder() if codec.mimeType.lower() == "video/h264" else listed(codec)

    get_encoder.is_light = True  # type: ignore[attr-defined]
    aiortc.rtcrtpsender.get_encoder = get_encoder


def _opened(width: int, height: int, most_bits_s: int) -> Any:
    codec: Any = av.CodecContext.create("libx264", "w")
    codec.width, codec.height, codec.pix_fmt = width, height, "yuv420p"
    codec.framerate, codec.time_base = Fraction(FPS), Fraction(1, FPS)
    # x264 takes another bit rate while it runs only where it keeps a buffer.
    limits = {"maxrate": str(most_bits_s), "bufsize": str(round(BUFFER_S * most_bits_s))}
    codec.options = {"preset": PRESET, "tune": "zerolatency", "level": "31", "sc_threshold": "0", **limits}
    codec.gop_size = WHOLE_EVERY_S * FPS
    codec.profile, codec.thread_count = "Baseline", 1
    return codec
