"""The microphone as a live source, through PyAudio."""

from __future__ import annotations

import contextlib
import ctypes
import os
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dfanerf_rt.audio.intake import SoundIntake
from dfanerf_rt.audio.ring import SAMPLE_RATE_HZ, AudioChunk, SampleRing
from dfanerf_rt.errors import AudioError

SILENT_DEVICE_S = 5.0
"""A device that hands over nothing for so long is taken for gone. Sleeping devices need up to 2 s to wake."""


@dataclass(frozen=True)
class AudioDevice:
    """One sound device, as listed."""

    index: int
    name: str
    channels: int
    rate_hz: int
    is_default: bool


def list_devices() -> list[AudioDevice]:
    """All devices that can record.

    Raises:
        AudioError: PyAudio is not installed.
    """
    with portaudio() as audio:
        return input_devices(audio)


def list_loudspeakers() -> list[AudioDevice]:
    """All devices that can play; raises as :func:`list_devices`."""
    with portaudio() as audio:
        return output_devices(audio)


class MicrophoneSource:
    """The microphone in chunks of 10 ms, written by PortAudio's callback into a bounded ring.

    A device that cannot record 16 kHz mono is opened at its own rate and converted when read, by a
    :class:`~dfanerf_rt.audio.intake.SoundIntake`; what that holds back counts as latency in ``captured_s``. Samples
    that the ring had to drop are counted in :attr:`dropped_samples` and read as silence, so that the sample clock
    stays true.

    Args:
        device: index, or a part of a device's name in any case; None for the default device.
        buffer_s: what the ring holds before it drops the oldest.
        silent_s: a device that hands over nothing for so long while it is read is taken for gone.

    Raises:
        AudioError: no device, an unknown one, one that does not open, or (from ``read``) one that went silent.
    """

    def __init__(
        self, device: int | str | None = None, buffer_s: float = 1.0, silent_s: float = SILENT_DEVICE_S
    ) -> None:
        self._ring = SampleRing(1)
        self._buffer_s, self._silent_s = buffer_s, silent_s
        self._pending: deque[AudioChunk] = deque()
        self._clock = 0
        self._ring_clock = 0
        self._lost_before_callback = 0
        self._stream: Any = None
        self._stack = contextlib.ExitStack()
        self._audio = self._stack.enter_context(portaudio())
        try:
            self.device = choose_device(input_devices(self._audio), device)
            self.rate_hz, self.channels = self._format()
            self._intake = SoundIntake(self.rate_hz, self.channels)
        except BaseException:
            self._stack.close()
            raise

    @property
    def dropped_samples(self) -> int:
        """Samples at 16 kHz lost so far, in the ring or (at least) before the callback."""
        return (self._ring.dropped_samples + self._lost_before_callback) * SAMPLE_RATE_HZ // self.rate_hz

    def start(self) -> None:
        """Open the device and wait for its first sound, which is sample 0; sleeping devices take a second or two."""
        import pyaudio

        self._ring = SampleRing(max(int(self._buffer_s * self.rate_hz), 1))
        self._clock = self._ring_clock = 0
        self._intake.reset()
        try:
            with quiet_stderr():
                self._stream = self._audio.open(
                    format=pyaudio.paInt16,
                    channels=self.channels,
                    rate=self.rate_hz,
                    input=True,
                    input_device_index=self.device.index,
                    frames_per_buffer=self.rate_hz // 100,
                    stream_callback=self._callback,
                )
        except OSError as fault:
            self.stop()
            raise AudioError(
                f"microphone '{self.device.name}' does not open ({fault}); choose another with --device"
            ) from fault
        if not self._ring.wait(SILENT_DEVICE_S):
            self.stop()
            raise AudioError(self._silent())

    def read(self) -> AudioChunk | None:
        """The next chunk on the 16 kHz sample clock, or None after :meth:`stop`."""
        waited_s = 0.0
        while True:
            if self._pending:
                return self._pending.popleft()
            raw = self._ring.read(0.1)
            if raw is None:
                if self._ring.closed:
                    return None
                waited_s += 0.1
                if waited_s < self._silent_s and self._active():
                    continue
                raise AudioError(self._silent())
            gap = raw.start - self._ring_clock
            self._ring_clock = raw.end
            if gap:
                before_s = raw.captured_s - len(raw.samples) / self.rate_hz
                self._emit(np.zeros((gap, self.channels), np.int16), before_s)
            self._emit(raw.samples, raw.captured_s)

    def stop(self) -> None:
        """Close the device; what was captured can still be read. May be called from any thread, and twice."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()
        self._ring.close()
        self._stack.close()

    def _active(self) -> bool:
        """Whether PortAudio still expects sound; it gives a device up when its driver does."""
        stream = self._stream
        try:
            return stream is None or bool(stream.is_active())
        except OSError:
            return False

    def _silent(self) -> str:
        return f"microphone '{self.device.name}' hands over no sound; is it unplugged or in use?"

    def _emit(self, raw: np.ndarray, captured_s: float) -> None:
        samples = self._intake.push(raw)
        if len(samples):
            self._pending.append(AudioChunk(samples, self._clock, captured_s - self._intake.delay_s))
            self._clock += len(samples)

    def _callback(self, data: bytes, n_frames: int, times: Mapping[str, float], status: int) -> tuple[None, int]:
        import pyaudio

        if status & pyaudio.paInputOverflow:
            # PortAudio does not say how much was lost; it was at least one buffer.
            self._lost_before_callback += n_frames
        samples = np.frombuffer(data, np.int16).reshape(-1, self.channels)
        # The times that drivers give are no help: PulseAudio's say 247 ms, then 0, while samples come steadily.
        self._ring.write(samples, time.monotonic())
        return None, pyaudio.paContinue

    def _format(self) -> tuple[int, int]:
        """The first of (rate, channels) that the device takes, 16 kHz mono before all others."""
        import pyaudio

        tried = []
        for rate_hz in dict.fromkeys((SAMPLE_RATE_HZ, self.device.rate_hz, 48_000, 44_100)):
            for channels in dict.fromkeys((1, min(self.device.channels, 2))):
                try:
                    with quiet_stderr():
                        self._audio.is_format_supported(
                            rate_hz,
                            input_device=self.device.index,
                            input_channels=channels,
                            input_format=pyaudio.paInt16,
                        )
                except ValueError:
                    tried.append(f"{rate_hz} Hz x {channels}")
                else:
                    return rate_hz, channels
        raise AudioError(
            f"microphone '{self.device.name}' takes none of {', '.join(tried)}; choose another with --device"
        )


def choose_device(
    devices: list[AudioDevice], wanted: int | str | None, what: str = "microphone", option: str = "--device"
) -> AudioDevice:
    """The device that is ``wanted``: its number, or a part of its name in any case; the default one for None.

    Raises:
        AudioError: there is none, or several fit; the message calls them ``what``.
    """
    if not devices:
        instead = ", or use --audio FILE" if what == "microphone" else ", or leave it out"
        raise AudioError(f"no {what} found; connect one{instead}")
    if wanted is None:
        return next((device for device in devices if device.is_default), devices[0])
    names = ", ".join(f"{device.index} '{device.name}'" for device in devices)
    if isinstance(wanted, int) or wanted.isdigit():
        found = [device for device in devices if device.index == int(wanted)]
    else:
        found = [device for device in devices if device.name.lower() == wanted.lower()] or [
            device for device in devices if wanted.lower() in device.name.lower()
        ]
    if not found:
        raise AudioError(f"no {what} '{wanted}'; there are {names} ({option})")
    if len(found) > 1:
        raise AudioError(f"'{wanted}' fits several {what}s; choose by number: {names} ({option})")
    return found[0]


def input_devices(audio: Any) -> list[AudioDevice]:
    """All devices of this PyAudio that can record."""
    return _devices(audio, "Input")


def output_devices(audio: Any) -> list[AudioDevice]:
    """All devices of this PyAudio that can play."""
    return _devices(audio, "Output")


def _devices(audio: Any, way: str) -> list[AudioDevice]:
    try:
        default = int(getattr(audio, f"get_default_{way.lower()}_device_info")()["index"])
    except OSError:
        default = -1
    listed = [audio.get_device_info_by_index(index) for index in range(audio.get_device_count())]
    return [
        AudioDevice(
            index=int(info["index"]),
            name=str(info["name"]),
            channels=int(info[f"max{way}Channels"]),
            rate_hz=int(info["defaultSampleRate"]),
            is_default=int(info["index"]) == default,
        )
        for info in listed
        if int(info[f"max{way}Channels"]) > 0
    ]


@contextlib.contextmanager
def portaudio() -> Iterator[Any]:
    """PyAudio, without the pages that ALSA prints; raises :class:`AudioError` where it is not installed."""
    try:
        import pyaudio
    except ImportError as fault:
        raise AudioError(
            "sound devices need PyAudio, which is not installed: pip install 'dfanerf-rt[mic]' "
            "(on Debian first: apt install portaudio19-dev), or use --audio FILE"
        ) from fault
    with quiet_stderr():
        _forget_known_devices()
        audio = pyaudio.PyAudio()
    try:
        yield audio
    finally:
        audio.terminate()


def _forget_known_devices() -> None:
    """Let ALSA look again: it reads once a process which sound servers there are, and they come and go."""
    with contextlib.suppress(OSError, AttributeError):  # no ALSA here: nothing is remembered
        ctypes.CDLL("libasound.so.2").snd_config_update_free_global()


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """ALSA and JACK print pages about devices that are not there; C code writes to the descriptor itself."""
    saved = os.dup(2)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
