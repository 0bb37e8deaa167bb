"""Pictures with the sound that belongs to them: what a viewer sees and hears at one time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from dfanerf_rt.audio.ring import SAMPLE_RATE_HZ, AudioChunk
from dfanerf_rt.live.stages import FPS, FRAME_SAMPLES, Frame


class Moment(NamedTuple):
    """40 ms of the show."""

    frame: np.ndarray
    """(H, W, 3) uint8 sRGB."""
    sound: np.ndarray
    """(640,) float32 in [-1, 1], mono, 16 kHz: the avatar's voice while the frame is seen."""
    pts_s: float
    """Place on the time line, seconds; 0.04 more than the moment before."""
    repeated: bool
    """Whether the frame is that of the moment before, because its own was dropped."""
    captured_s: float
    """Monotonic time at which the sound was captured."""


class MomentAssembler:
    """Holds sound back until its picture is there, so that a voice and its lips leave together.

    Every 40 ms of sound leave exactly once and in order. Where a picture was dropped the last one is repeated, when
    its successor comes or after ``most_held_s`` of waiting sound, whatever is first. A picture that comes before all
    of its sound, as those of little look-ahead do, waits for it.

    Args:
        most_held_s: the longest that sound waits for a picture.
    """

    def __init__(self, most_held_s: float = 0.6) -> None:
        self._most_held = round(most_held_s * SAMPLE_RATE_HZ)
        self._chunks: deque[AudioChunk] = deque()
        self._frames: deque[Frame] = deque()
        """Pictures that wait for their sound."""
        self._end = 0
        self._next = 0
        self._last: np.ndarray | None = None
        self._muted_until = 0

    def hear(self, chunk: AudioChunk) -> Iterator[Moment]:
        """Take sound, in order; gives pictures that waited for it, and what has waited too long."""
        self._chunks.append(chunk)
        self._end = chunk.end
        yield from self._complete(self._end // FRAME_SAMPLES)
        while self._last is not None and self._end - self._next * FRAME_SAMPLES > self._most_held:
            yield self._leave(self._last, repeated=True, captured_s=self._captured_s(chunk))

    def show(self, frame: Frame) -> Iterator[Moment]:
        """Take a picture, in order; gives it with its sound, after those moments before it that got none."""
        self._frames.append(frame)
        yield from self._complete(self._end // FRAME_SAMPLES)

    def finish(self) -> Iterator[Moment]:
        """No sound comes any more: gives the pictures that wait for it, with silence in its place."""
        yield from self._complete(-(-self._end // FRAME_SAMPLES))

    def _complete(self, until: int) -> Iterator[Moment]:
        """The pictures before place ``until``."""
        while self._frames and self._frames[0].index < until:
            frame = self._frames.popleft()
            last = frame.image if self._last is None else self._last
            while self._next < frame.index:
                before_s = (frame.index - self._next) / FPS
                yield self._leave(last, repeated=True, captured_s=frame.sound_s - before_s)
            if self._next == frame.index:  # later, its moment has left without it
                self._last = frame.image
                yield self._leave(frame.image, repeated=False, captured_s=frame.sound_s)

    def mute(self, until: int) -> None:
        """Make all sound that has not left yet silent, up to sample ``until``."""
        self._muted_until = max(self._muted_until, until)

    def _captured_s(self, newest: AudioChunk) -> float:
        return newest.captured_s - (newest.end - self._next * FRAME_SAMPLES) / SAMPLE_RATE_HZ

    def _leave(self, image: np.ndarray, repeated: bool, captured_s: float) -> Moment:
        begin = self._next * FRAME_SAMPLES
        sound = np.zeros(FRAME_SAMPLES, np.float32)
        while self._chunks and self._chunks[0].start < begin + FRAME_SAMPLES:
            chunk = self._chunks[0]
            first, last = max(chunk.start, begin), min(chunk.end, begin + FRAME_SAMPLES)
            if last > first:
                sound[first - begin : last - begin] = chunk.samples[first - chunk.start : last - chunk.start]
            if chunk.end > begin + FRAME_SAMPLES:
                break
            self._chunks.popleft()
        if begin < self._muted_until:
            sound[: self._muted_until - begin] = 0.0
        self._next += 1
        return Moment(image, sound, begin / SAMPLE_RATE_HZ, repeated, captured_s)
