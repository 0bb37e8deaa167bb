"""What a call or a compressed file does to a voice: encoders at low rates, there and back, without their delay."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, cast

import numpy as np

from dfanerf_rt.audio.speech import SAMPLE_RATE_HZ
from dfanerf_rt.errors import AudioError

if TYPE_CHECKING:
    from av.audio.codeccontext import AudioCodecContext


@dataclass(frozen=True)
class Codec:
    """One encoder and the bit rates to draw from."""

    encoder: str
    """FFmpeg's name."""
    decoder: str
    rate_hz: int
    bit_rates: tuple[int, ...]
    sample_format: str = "s16"


CODECS: dict[str, Codec] = {
    "opus": Codec("libopus", "libopus", 16_000, (8_000, 12_000, 16_000, 24_000)),
    "mp3": Codec("libmp3lame", "mp3float", 16_000, (16_000, 24_000, 32_000), "fltp"),
    "aac": Codec("aac", "aac", 16_000, (16_000, 24_000, 32_000), "fltp"),
    "amr": Codec("libopencore_amrnb", "amrnb", 8_000, (4_750, 6_700, 12_200)),
    "g722": Codec("g722", "g722", 16_000, (64_000,)),
}
"""Through FFmpeg; ``"mulaw"`` needs no encoder."""


def available_codecs() -> tuple[str, ...]:
    """``"mulaw"`` and those of :data:`CODECS` that the installed FFmpeg can encode and decode."""
    from av.codec import Codec as Format
    from av.codec.codec import UnknownCodecError

    found = ["mulaw"]
    for name, codec in CODECS.items():
        try:
            Format(codec.encoder, "w")
            Format(codec.decoder, "r")
        except UnknownCodecError:
            continue
        found.append(name)
    return tuple(found)


def through_codec(samples: np.ndarray, name: str, bit_rate: int | None = None) -> np.ndarray:
    """Encode and decode.

    Args:
        samples: (N,) float in [-1, 1], 16 kHz.
        name: ``"mulaw"`` (8 kHz, ITU-T G.711) or a key of :data:`CODECS`.
        bit_rate: bits a second; the codec's highest of the table if not given.

    Returns:
        (N,) float32 at 16 kHz in [-1, 1], the codec's delay taken off.

    Raises:
        AudioError: the codec is unknown, or FFmpeg here does not have it.
    """
    if name == "mulaw":
        return _mulaw(samples)
    if name not in CODECS:
        raise AudioError(f"unknown codec {name!r}; expected mulaw, {', '.join(CODECS)}")
    codec = CODECS[name]
    rate = bit_rate or codec.bit_rates[-1]
    decoded = _there_and_back(samples, codec, rate)[_delay(name) :]
    return np.pad(decoded, (0, max(0, samples.size - decoded.size)))[: samples.size]


def _mulaw(samples: np.ndarray) -> np.ndarray:
    import soxr

    narrow = np.clip(soxr.resample(samples.astype(np.float32), SAMPLE_RATE_HZ, 8_000), -1.0, 1.0)
    coded = np.sign(narrow) * np.round(np.log1p(255.0 * np.abs(narrow)) / np.log(256.0) * 127.0) / 127.0
    decoded = np.sign(coded) * (256.0 ** np.abs(coded) - 1.0) / 255.0
    wide = soxr.resample(decoded.astype(np.float32), 8_000, SAMPLE_RATE_HZ)
    return np.clip(np.pad(wide, (0, max(0, samples.size - wide.size)))[: samples.size], -1.0, 1.0)


@cache
def _delay(name: str) -> int:
    """Samples at 16 kHz by which a codec's output is late, measured on pulses at irregular times."""
    random = np.random.default_rng(7)
    probe = np.zeros(2 * SAMPLE_RATE_HZ, np.float32)
    starts = 800 + np.cumsum(random.integers(90, 220, 180))
    decay = np.exp(-np.arange(40) / 8.0) * np.sin(np.arange(40) * 0.7)
    for start in starts:
        probe[start : start + 40] += 0.5 * decay
    decoded = _there_and_back(probe, CODECS[name], CODECS[name].bit_rates[-1])
    size = 1 << (probe.size + decoded.size).bit_length()
    correlation = np.fft.irfft(np.fft.rfft(decoded, size) * np.conj(np.fft.rfft(probe, size)), size)
    return int(correlation[:8_000].argmax())


def _there_and_back(samples: np.ndarray, codec: Codec, bit_rate: int) -> np.ndarray:
    """Encode and decode; (M,) float32 at 16 kHz, late by the codec's delay, and about as long as it came."""
    import av
    import soxr

    # Half a second of silence pushes the last sound through encoder and decoder.
    wave = np.concatenate([samples.astype(np.float32), np.zeros(SAMPLE_RATE_HZ // 2, np.float32)])
    native = np.clip(soxr.resample(wave, SAMPLE_RATE_HZ, codec.rate_hz), -1.0, 1.0)
    packed = native if codec.sample_format == "fltp" else np.round(native * 32767.0).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(packed[None], format=codec.sample_format, layout="mono")
    frame.sample_rate = codec.rate_hz
    try:
        encoder = cast("AudioCodecContext", av.CodecContext.create(codec.encoder, "w"))
        decoder = cast("AudioCodecContext", av.CodecContext.create(codec.decoder, "r"))
    except av.codec.codec.UnknownCodecError as fault:
        raise AudioError(f"the installed FFmpeg has no codec {codec.encoder!r}") from fault
    for context in (encoder, decoder):
        context.sample_rate = codec.rate_hz
        context.layout = "mono"
    encoder.format = codec.sample_format
    encoder.bit_rate = bit_rate
    encoder.open()
    if encoder.extradata:
        decoder.extradata = encoder.extradata
    parts, rate_hz = [], codec.rate_hz
    packets = [*encoder.encode(frame), *encoder.encode(None)]
    for packet in [*packets, None]:
        for heard in decoder.decode(packet):
            block = heard.to_ndarray().reshape(-1)
            parts.append(block.astype(np.float32) / (32768.0 if block.dtype == np.int16 else 1.0))
            rate_hz = heard.sample_rate
    return np.clip(soxr.resample(np.concatenate(parts), rate_hz, SAMPLE_RATE_HZ), -1.0, 1.0)
