"""A microphone that may be unplugged and comes back: silence meanwhile, one clock throughout."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

import numpy as np

from dfanerf_rt.audio.microphone import MicrophoneSource
from dfanerf_rt.audio.ring import CHUNK_SAMPLES, SAMPLE_RATE_HZ, AudioChunk
from dfanerf_rt.errors import AudioError

GONE_AFTER_S = 1.0
"""A device that hands over nothing for so long is taken for gone; one that PortAudio gave up, at once."""
RETRY_S = 0.5


class OpenMicrophone(Protocol):
    """What a microphone that is there can do: :class:`MicrophoneSource`."""

    @property
    def dropped_samples(self) -> int:
        """Samples lost so far."""

    def start(self) -> None:
        """Set its clock to zero."""

    def read(self) -> AudioChunk | None:
        """The next chunk; raises :class:`AudioError` when the device is gone."""

    def stop(self) -> None:
        """Close the device."""


class ReturningMicrophone:
    """:class:`MicrophoneSource` for hours: where the device goes, silence takes its place, on time, until it is back.

    The sample clock goes on in step with real time, so that what comes after an outage is neither early nor late. The
    silence is counted in :attr:`dropped_samples`.

    Args:
        device: as of :class:`MicrophoneSource`. After an outage the same name is looked for (the default device where
            none was asked for), because numbers change.
        on_change: called with one line when the device goes and when it is back, from another thread.
        open_device: opens a device by number or name.

    Raises:
        AudioError: there is no such device at the beginning.
    """

    def __init__(
        self,
        device: int | str | None = None,
        on_change: Callable[[str], None] = lambda line: None,
        open_device: Callable[[int | str | None], OpenMicrophone] | None = None,
    ) -> None:
        self._open = open_device or (lambda wanted: MicrophoneSource(wanted, silent_s=GONE_AFTER_S))
        self._on_change = on_change
        self._microphone: OpenMicrophone | None = self._open(device)
        name = getattr(getattr(self._microphone, "device", None), "name", device)
        self._wanted = None if device is None else name
        self._shown = f"microphone '{name}'"
        self._wake = threading.Condition()
        self._returned: OpenMicrophone | None = None
        self._stopped = False
        self._lost_before = 0
        self._clock = 0
        self._offset = 0
        self._captured_s = 0.0
        self._first_after_outage = False
        self.outages = 0
        """How often the device went."""

    @property
    def dropped_samples(self) -> int:
        """Samples lost so far: in the device's ring, and while it was gone."""
        microphone = self._microphone
        return self._lost_before + (microphone.dropped_samples if microphone is not None else 0)

    def start(self) -> None:
        """Set the sample clock to zero at the device's first sound."""
        if self._microphone is not None:
            self._microphone.start()

    def read(self) -> AudioChunk | None:
        """The next chunk of sound, or of silence while the device is gone; None after :meth:`stop`."""
        while not self._stopped:
            microphone = self._microphone
            if microphone is None:
                chunk = self._silence()
                if chunk is not None:
                    return chunk
                continue
            try:
                heard = microphone.read()
            except AudioError as fault:
                self._lose(microphone, fault)
                continue
            if heard is None:
                return None
            return self._placed(heard)
        return None

    def stop(self) -> None:
        """Close the device; may be called from any thread, and twice."""
        with self._wake:
            self._stopped = True
            microphones = [each for each in (self._microphone, self._returned) if each is not None]
            self._returned = None
            self._wake.notify_all()
        for microphone in microphones:
            microphone.stop()

    def _placed(self, heard: AudioChunk) -> AudioChunk:
        """On our clock, which goes on from device to device."""
        if self._first_after_outage:
            self._first_after_outage = False
            passed_s = heard.captured_s - len(heard.samples) / SAMPLE_RATE_HZ - self._captured_s
            # What of the outage no silence stood for yet becomes part of this chunk, so that the clock is true again.
            missing = max(round(passed_s * SAMPLE_RATE_HZ), 0)
            self._offset = self._clock - heard.start
            self._lost_before += missing
            samples = np.concatenate([np.zeros(missing, np.float32), heard.samples])
            self._offset += missing
            heard = AudioChunk(samples, heard.start - missing, heard.captured_s)
        start = heard.start + self._offset
        self._clock, self._captured_s = start + len(heard.samples), heard.captured_s
        return AudioChunk(heard.samples, start, heard.captured_s)

    def _silence(self) -> AudioChunk | None:
        """10 ms of it when they are due; None where the device came back, or all was stopped."""
        due_s = self._captured_s + CHUNK_SAMPLES / SAMPLE_RATE_HZ
        with self._wake:
            self._wake.wait_for(lambda: self._stopped or self._returned is not None, max(due_s - time.monotonic(), 0.0))
            if self._stopped:
                return None
            if self._returned is not None:
                self._microphone, self._returned = self._returned, None
                self._first_after_outage = True
                return None
        start, self._clock, self._captured_s = self._clock, self._clock + CHUNK_SAMPLES, due_s
        self._lost_before += CHUNK_SAMPLES
        return AudioChunk(np.zeros(CHUNK_SAMPLES, np.float32), start, due_s)

    def _lose(self, microphone: OpenMicrophone, fault: AudioError) -> None:
        self.outages += 1
        self._lost_before += microphone.dropped_samples
        self._microphone = None
        if self._captured_s == 0.0:
            self._captured_s = time.monotonic()
        self._on_change(f"{fault}; the avatar rests until it is back")
        threading.Thread(target=self._bring_back, args=(microphone,), name="microphone", daemon=True).start()

    def _bring_back(self, gone: OpenMicrophone) -> None:
        gone.stop()
        while not self._stopped:
            microphone = None
            try:
                microphone = self._open(self._wanted)
                microphone.start()
            except AudioError:  # not back yet; it was said when it went
                if microphone is not None:
                    microphone.stop()
                with self._wake:
                    self._wake.wait_for(lambda: self._stopped, RETRY_S)
                continue
            with self._wake:
                if not self._stopped:
                    self._returned = microphone
                    self._wake.notify_all()
                    self._on_change(f"{self._shown} is back")
                    return
            microphone.stop()
