"""Between a session and WebRTC: its pictures and voice as tracks, the browser's microphone as sound."""

from __future__ import annotations

import asyncio
from collections import deque
from fractions import Fraction

import av
import numpy as np
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError

from dfanerf_rt.audio.intake import SoundIntake
from dfanerf_rt.audio.ring import SAMPLE_RATE_HZ
from dfanerf_rt.live.moments import Moment

VIDEO_TIME_BASE = Fraction(1, 90_000)
VOICE_SAMPLES = 320
"""20 ms, a packet of Opus."""
WAITING_PICTURES = 15
"""0.6 s, as much as a session holds back for a late picture, and then lets go at once."""
WAITING_VOICE = 75
"""1.5 s, more than waits in a session: after a stall late pictures go, and the voice stays whole."""


class _QueueTrack(MediaStreamTrack):
    """Gives what is put into it; the oldest goes, and is counted, where the network takes less."""

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self._frames: deque[av.VideoFrame | av.AudioFrame] = deque()
        self._capacity = capacity
        self._came = asyncio.Event()
        self.dropped = 0

    def put(self, frame: av.VideoFrame | av.AudioFrame) -> None:
        """Append a frame that carries its pts."""
        if len(self._frames) >= self._capacity:
            self._frames.popleft()
            self.dropped += 1
        self._frames.append(frame)
        self._came.set()

    def stop(self) -> None:
        """End the track, also for whoever waits for a frame."""
        super().stop()
        self._came.set()

    async def recv(self) -> av.VideoFrame | av.AudioFrame:
        """The next frame; called by aiortc."""
        while not self._frames:
            if self.readyState != "live":
                raise MediaStreamError
            self._came.clear()
            await self._came.wait()
        return self._frames.popleft()


class PictureTrack(_QueueTrack):
    """The avatar's pictures."""

    kind = "video"

    def __init__(self) -> None:
        super().__init__(WAITING_PICTURES)

    def show(self, moment: Moment) -> None:
        """Send a moment's picture at its place."""
        frame = av.VideoFrame.from_ndarray(moment.frame, format="rgb24")
        frame.pts = round(moment.pts_s * VIDEO_TIME_BASE.denominator)
        frame.time_base = VIDEO_TIME_BASE
        self.put(frame)


class VoiceTrack(_QueueTrack):
    """The avatar's voice, which leaves with its picture."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__(WAITING_VOICE)

    def say(self, moment: Moment) -> None:
        """Send a moment's sound at its place."""
        samples = (np.clip(moment.sound, -1.0, 1.0) * 32767.0).astype(np.int16)
        begin = round(moment.pts_s * SAMPLE_RATE_HZ)
        for offset in range(0, len(samples), VOICE_SAMPLES):
            frame = av.AudioFrame.from_ndarray(samples[None, offset : offset + VOICE_SAMPLES], "s16", "mono")
            frame.sample_rate = SAMPLE_RATE_HZ
            frame.pts = begin + offset
            frame.time_base = Fraction(1, SAMPLE_RATE_HZ)
            self.put(frame)


class MicrophoneReader:
    """Converts the frames of a browser's microphone to 16 kHz mono."""

    def __init__(self) -> None:
        self._intake: SoundIntake | None = None

    def samples(self, frame: av.AudioFrame) -> np.ndarray:
        """(n,) float32 in [-1, 1] of one frame, as far as it is complete."""
        channels = frame.layout.nb_channels
        planes = frame.to_ndarray()
        interleaved = planes.T if frame.format.is_planar else planes.reshape(-1, channels)
        if self._intake is None or (self._intake.rate_hz, self._intake.channels) != (frame.sample_rate, channels):
            self._intake = SoundIntake(frame.sample_rate, channels)
        return self._intake.push(interleaved)
