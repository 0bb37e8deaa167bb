"""Sound from a pipe: raw PCM, or the WAV that speech synthesisers write to their standard output."""

from __future__ import annotations

import struct
import threading
from typing import Protocol

import numpy as np

from dfanerf_rt.audio.intake import SoundIntake
from dfanerf_rt.audio.push import PushSource
from dfanerf_rt.audio.ring import AudioChunk
from dfanerf_rt.errors import AudioError

BUFFER_S = 2.0
BLOCK_BYTES = 4096
WAV_PCM, WAV_EXTENSIBLE = 1, 0xFFFE


class ByteStream(Protocol):
    """``sys.stdin.buffer``, or anything like it."""

    def read1(self, size: int, /) -> bytes:
        """Up to ``size`` bytes, as soon as some are there; none at the end."""


class PcmSource:
    """16-bit little-endian PCM from a stream, as a live source.

    A stream that begins like a WAV file says its rate and channels itself. Sound that comes faster than it is spoken
    waits in the pipe; where it comes slower, silence is heard meanwhile.

    Args:
        stream: see :class:`ByteStream`.
        rate_hz, channels: of raw PCM.
        realtime: pace it; otherwise as fast as it comes.

    Raises:
        AudioError: a rate or number of channels that cannot be; from ``read`` a stream that is no 16-bit PCM, or holds
            no sound at all.
    """

    def __init__(self, stream: ByteStream, rate_hz: int = 16_000, channels: int = 1, realtime: bool = True) -> None:
        self._stream = stream
        self._intake = SoundIntake(rate_hz, channels)
        self._source = PushSource(BUFFER_S, realtime)
        self._fault: BaseException | None = None
        self._reader = threading.Thread(target=self._run, name="pcm", daemon=True)

    @property
    def dropped_samples(self) -> int:
        """None are lost: the pipe waits."""
        return self._source.dropped_samples

    def start(self) -> None:
        """Set the sample clock to zero, and begin to read."""
        self._source.start()
        self._reader.start()

    def read(self) -> AudioChunk | None:
        """The next 10 ms; None at the end of the stream or after :meth:`stop`."""
        chunk = self._source.read()
        if chunk is None and self._fault is not None:
            raise self._fault
        return chunk

    def stop(self) -> None:
        """Make :meth:`read` return None from now on."""
        self._source.stop()

    def _run(self) -> None:
        try:
            self._copy()
        except (AudioError, OSError) as fault:
            self._fault = AudioError(f"standard input: {fault}")
        except BaseException as fault:  # noqa: BLE001 - raised by read() in its own thread
            self._fault = fault
        finally:
            self._source.end()

    def _copy(self) -> None:
        held = self._at_least(b"", 4)
        if held[:4] == b"RIFF":
            held = self._wav_header(held)
        heard = False
        while True:
            frame_bytes = 2 * self._intake.channels
            whole = len(held) // frame_bytes * frame_bytes
            raw = np.frombuffer(held[:whole], "<i2").reshape(-1, self._intake.channels)
            heard = heard or bool(len(raw))
            if not self._source.push(self._intake.push(raw.astype(np.int16))):
                return
            held = held[whole:]
            block = self._stream.read1(BLOCK_BYTES)
            if not block:
                break
            held += block
        if not heard:
            raise AudioError("ended without any sound; expected raw 16-bit PCM or WAV")
        self._source.push(self._intake.flush())

    def _at_least(self, held: bytes, size: int) -> bytes:
        while len(held) < size and (block := self._stream.read1(BLOCK_BYTES)):
            held += block
        return held

    def _wav_header(self, held: bytes) -> bytes:
        """Read up to the data chunk; returns what of it is already there."""
        held = self._at_least(held, 12)[12:]
        known = False
        while True:
            held = self._at_least(held, 8)
            if len(held) < 8:
                raise AudioError("a WAV that ends before its sound")
            name, length = struct.unpack("<4sI", held[:8])
            held = held[8:]
            if name == b"data":
                if not known:
                    raise AudioError("a WAV that does not say its format before its sound")
                return held
            length += length % 2
            if length > 1 << 20:
                raise AudioError(f"a WAV with a chunk {name!r} of {length} bytes before its sound")
            held = self._at_least(held, length)
            if name == b"fmt ":
                if len(held) < 16:
                    raise AudioError("a WAV whose format is cut off")
                kind, channels, rate_hz, _, _, bits = struct.unpack("<HHIIHH", held[:16])
                if kind not in (WAV_PCM, WAV_EXTENSIBLE) or bits != 16:
                    raise AudioError(f"a WAV of kind {kind} with {bits} bits, expected 16-bit PCM")
                self._intake = SoundIntake(rate_hz, channels)
                known = True
            held = held[length:]
