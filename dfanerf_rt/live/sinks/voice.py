"""The avatar's voice on a loudspeaker, as late as its lips."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from dfanerf_rt.audio.microphone import choose_device, output_devices, portaudio, quiet_stderr
from dfanerf_rt.audio.ring import SAMPLE_RATE_HZ, AudioChunk
from dfanerf_rt.errors import AudioError
from dfanerf_rt.live.moments import Moment, MomentAssembler
from dfanerf_rt.live.stages import FRAME_SAMPLES, Frame

CUSHION_SAMPLES = FRAME_SAMPLES
"""Sound that waits before the first is played, so that a picture 40 ms late leaves no hole."""
MOST_WAITING_SAMPLES = 4 * FRAME_SAMPLES
"""More than this waits only where the loudspeaker is slower than the microphone: the oldest goes, and is counted."""


class VoiceSink:
    """Plays the sound of a picture when the picture is there, through PyAudio.

    A :class:`~dfanerf_rt.live.moments.MomentAssembler` holds the sound back until its picture has come; 40 ms more wait
    against holes, and the device adds its own delay (:attr:`device_delay_ms`). A voice that comes a little after its
    lips is what people are used to from everybody who is a few steps away.

    Args:
        device: number, or a part of a loudspeaker's name; None for the default one.

    Raises:
        AudioError: PyAudio is not installed, or there is no such loudspeaker.
    """

    name = "voice"

    def __init__(self, device: int | str | None = None) -> None:
        self._assembler = MomentAssembler()
        self._lock = threading.Lock()
        self._waiting: deque[np.ndarray] = deque()
        self._n_waiting = 0
        self._playing = False
        self._drained: threading.Event | None = None
        self.holes = 0
        """Times at which nothing was there to be played."""
        self.dropped_samples = 0
        self._stack = contextlib.ExitStack()
        audio = self._stack.enter_context(portaudio())
        try:
            import pyaudio

            self.device = choose_device(output_devices(audio), device, "loudspeaker", "--voice-device")
            with quiet_stderr():
                self._stream: Any = audio.open(
                    format=pyaudio.paFloat32,
                    channels=1,
                    rate=SAMPLE_RATE_HZ,
                    output=True,
                    output_device_index=self.device.index,
                    frames_per_buffer=SAMPLE_RATE_HZ // 100,
                    stream_callback=self._callback,
                )
            self.device_delay_ms = 1000.0 * float(self._stream.get_output_latency())
            """What the device says that it adds."""
        except OSError as fault:
            self._stack.close()
            raise AudioError(f"the loudspeaker does not open ({fault}); choose another with --voice-device") from fault
        except BaseException:
            self._stack.close()
            raise

    def write_audio(self, chunk: AudioChunk) -> None:
        """Take sound; it is played with its picture."""
        for moment in self._assembler.hear(chunk):
            self._play(moment)

    def write_frame(self, frame: Frame) -> None:
        """Play the sound of this picture."""
        for moment in self._assembler.show(frame):
            self._play(moment)

    def close(self) -> None:
        """Play what is left, and let go of the loudspeaker."""
        for moment in self._assembler.finish():
            self._play(moment)
        drained = threading.Event()
        with self._lock:
            self._playing = self._n_waiting > 0
            self._drained = drained
            if not self._n_waiting:
                drained.set()
        drained.wait(2.0)
        self.abort()

    def abort(self) -> None:
        """Let go of the loudspeaker at once."""
        self._stream.close()
        self._stack.close()

    def _play(self, moment: Moment) -> None:
        with self._lock:
            self._waiting.append(moment.sound)
            self._n_waiting += len(moment.sound)
            while self._n_waiting > MOST_WAITING_SAMPLES + CUSHION_SAMPLES:
                gone = len(self._waiting.popleft())
                self._n_waiting -= gone
                self.dropped_samples += gone
            if self._n_waiting > CUSHION_SAMPLES:
                self._playing = True

    def _callback(self, data: None, n_frames: int, times: Mapping[str, float], status: int) -> tuple[bytes, int]:
        import pyaudio

        out = np.zeros(n_frames, np.float32)
        with self._lock:
            filled = 0
            while self._playing and filled < n_frames and self._waiting:
                piece = self._waiting[0]
                n = min(n_frames - filled, len(piece))
                out[filled : filled + n] = piece[:n]
                filled += n
                self._n_waiting -= n
                if n < len(piece):
                    self._waiting[0] = piece[n:]
                else:
                    self._waiting.popleft()
            if self._playing and filled < n_frames:
                self._playing = False  # wait until there is a cushion again, in place of a hole every 10 ms
                self.holes += 1
            if self._drained is not None and not self._waiting:
                self._drained.set()
        return out.tobytes(), pyaudio.paContinue
