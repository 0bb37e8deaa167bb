"""The live avatar for programs: push sound, iterate over pictures with the sound that belongs to them.

::

    async with await LiveSession.open("presenter", size=256) as session:
        await session.push_audio(samples)
        session.end_segment()
        async for moment in session:
            show(moment.frame), play(moment.sound)
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfanerf_rt.audio.intake import SoundIntake
from dfanerf_rt.audio.push import MarkKind, PushSource
from dfanerf_rt.audio.ring import SAMPLE_RATE_HZ, AudioChunk
from dfanerf_rt.errors import AvatarError
from dfanerf_rt.live.chain import Chain, load_chain
from dfanerf_rt.live.leaving import ended_before_python
from dfanerf_rt.live.moments import Moment, MomentAssembler
from dfanerf_rt.live.pipeline import LiveConfig, LivePipeline
from dfanerf_rt.live.stages import FRAME_SAMPLES, Frame
from dfanerf_rt.live.stats import LiveReport
from dfanerf_rt.live.tuning import Tuning, prepared

WAITING_MOMENTS = 25
"""Moments that wait for a slow reader: a second."""
WAITING_EVENTS = 256


@dataclass(frozen=True)
class SpeechStarted:
    """The first sound of an utterance is heard and seen."""

    pts_s: float
    """Place on the time line, seconds."""


@dataclass(frozen=True)
class SpeechEnded:
    """The last sound of an utterance was heard and seen."""

    pts_s: float
    interrupted: bool
    """Whether :meth:`LiveSession.clear_buffer` cut it off."""


SessionEvent = SpeechStarted | SpeechEnded


class LiveSession:
    """One avatar that speaks what is pushed. It lives from ``async with``, or :meth:`start`, until :meth:`aclose`.

    In real time a :class:`~dfanerf_rt.live.moments.Moment` comes every 40 ms whether or not somebody speaks: the mouth
    rests in silence, head and eyes go on. A reader that is too slow loses the oldest moments, counted in
    :attr:`dropped_moments`. All methods belong to the event loop in which the session was started.

    Args:
        chain: the avatar's stages, its own: two sessions must not share encoder or motion
            (:class:`~dfanerf_rt.live.studio.Studio` makes chains that share what can be shared).
        rate_hz: of the sound that is pushed; it is converted to 16 kHz.
        channels: of the sound that is pushed.
        realtime: otherwise everything goes as fast as it can, nothing is dropped, no silence comes between
            utterances, and iteration waits for the reader.
        buffer_s: the most sound that waits to be spoken.
        cushion_s: sound that waits before an utterance begins, against the jitter of a network.
        mark: draw the visible mark "synthetic".

    Raises:
        AudioError: a rate or number of channels that cannot be.
    """

    def __init__(
        self,
        chain: Chain,
        *,
        rate_hz: int = SAMPLE_RATE_HZ,
        channels: int = 1,
        realtime: bool = True,
        buffer_s: float = 30.0,
        cushion_s: float = 0.0,
        mark: bool = True,
    ) -> None:
        self._chain = chain
        self._intake = SoundIntake(rate_hz, channels)
        self._source = PushSource(buffer_s, realtime, cushion_s=cushion_s)
        self._sink = _MomentSink(self, block=not realtime)
        config = LiveConfig(realtime=realtime, mark=mark)
        self._pipeline = LivePipeline(self._source, chain.encoder, chain.motion, chain.renderer, [self._sink], config)
        self._thread = threading.Thread(target=self._run, name="live session", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        self._events: deque[SessionEvent] = deque(maxlen=WAITING_EVENTS)
        self._event_wake = asyncio.Event()
        self._ended = False
        self._fault: BaseException | None = None
        self.report: LiveReport | None = None
        """The whole run in figures, once it has ended."""

    @classmethod
    async def open(cls, avatar: str | Path = "presenter", **options: Any) -> LiveSession:
        """Load an avatar without blocking the event loop.

        Args:
            avatar: file, or the name of a bundled avatar.
            options: those of the constructor, and those of :func:`~dfanerf_rt.live.chain.load_chain` (``size``,
                ``seed``, ``motion``, ``lookahead_ms`` ...).

        Raises:
            AvatarError: from ``load_chain``.
        """
        own = {"rate_hz", "channels", "realtime", "buffer_s", "cushion_s", "mark"}
        chain_options = {name: value for name, value in options.items() if name not in own}
        chain = await asyncio.to_thread(load_chain, avatar, **chain_options)
        return cls(chain, **{name: value for name, value in options.items() if name in own})

    async def start(self) -> None:
        """Begin: sample 0 of the time line is now."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def stop(self) -> None:
        """Begin to end, without waiting for it; :meth:`aclose` does."""
        self._source.stop()
        self._pipeline.stop()
        self._sink.let_go()

    async def aclose(self) -> None:
        """End at once, and raise what went wrong meanwhile."""
        self.stop()
        if self._loop is not None:
            await asyncio.to_thread(self._thread.join)
        if self._fault is not None:
            fault, self._fault = self._fault, None
            raise fault

    async def __aenter__(self) -> LiveSession:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def push_audio(self, samples: NDArray[Any]) -> bool:
        """Say this, after what was pushed before. Waits while ``buffer_s`` of sound wait.

        Args:
            samples: (n,) or (n, channels); int16, int32, or floating point in [-1, 1].

        Returns:
            Whether all of it will be said: False where :meth:`clear_buffer` or the end came meanwhile.

        Raises:
            AudioError: NaN, infinity, or another shape or type. Nothing of it is said then.
        """
        sound = self._intake.push(samples)
        if len(sound) <= self._source.room():
            return self._source.push(sound, timeout_s=0.0)
        return await asyncio.to_thread(self._source.push, sound)

    def push_live(self, samples: NDArray[Any]) -> bool:
        """Say what is being spoken now: as :meth:`push_audio`, but where more than 0.3 s wait the oldest goes."""
        return self._source.push_live(self._intake.push(samples))

    def end_segment(self) -> None:
        """What was pushed is a whole utterance: :class:`SpeechEnded` comes with its last sound."""
        self._source.push(self._intake.flush(), timeout_s=0.0)
        self._source.end_segment()

    def finish(self) -> None:
        """Nothing more will be pushed: iteration ends after the last moment."""
        self.end_segment()
        self._source.end()

    def clear_buffer(self) -> None:
        """Stop speaking (barge-in): what waits is forgotten, the voice is silent at once, the mouth rests with the
        next picture but the one or two that are being rendered, within 100 ms."""
        first_silent = self._source.clear()
        self._intake.reset()
        self._pipeline.interrupt()
        self._sink.mute(first_silent)

    async def tune(
        self, *, temperature: float | None = None, seed: int | None = None, lookahead_ms: float | None = None
    ) -> None:
        """Change settings while it speaks; None stays as it is. No sound is lost and nothing jumps: motion goes on
        from its own past, and the look-ahead glides by 20 ms each 0.4 s.

        Args:
            temperature: of generated motion, 0 or more.
            seed: of generated motion; in recorded motion, the place to which head and eyes pass over.
            lookahead_ms: future sound that a frame waits for.

        Raises:
            AvatarError: what the avatar cannot follow; nothing has changed then.
        """
        tuning, chain, change = Tuning(temperature, seed, lookahead_ms), None, None
        while change is None or chain is not self._chain:  # become() may come meanwhile
            chain = self._chain
            change = await asyncio.to_thread(prepared, chain, tuning)
        self._pipeline.between_chunks(change)

    def become(self, chain: Chain) -> None:
        """Be another avatar from the next frame on, with the settings of ``chain``: a cut of the picture, none of the
        sound. Moments may be of another size from then on.

        Args:
            chain: its stages, its own, as the constructor's.

        Raises:
            AvatarError: its audio encoder was made for other features than the one before, so it cannot take over.
        """
        encoder = self._chain.encoder
        if not encoder.can_continue_with(chain.encoder.encoder):
            raise AvatarError(f"{chain.avatar.where}: hears other features than this avatar; begin a new session")
        self._chain = replace(chain, encoder=encoder)

        def change() -> None:
            encoder.continue_with(chain.encoder.encoder)
            self._pipeline.be(chain.motion, chain.renderer)

        self._pipeline.between_chunks(change)

    @property
    def width(self) -> int:
        """Of the pictures, px."""
        return self._chain.renderer.width

    @property
    def height(self) -> int:
        """Of the pictures, px."""
        return self._chain.renderer.height

    @property
    def waiting_s(self) -> float:
        """Pushed sound that is not said yet, seconds."""
        return self._source.waiting_samples / SAMPLE_RATE_HZ

    @property
    def dropped_moments(self) -> int:
        """Moments that the reader was too slow for."""
        return self._sink.dropped

    def stats(self) -> dict[str, Any]:
        """The figures since the last call, as a line of ``dfanerf-live --stats``."""
        return self._pipeline.line(time.monotonic())

    def __aiter__(self) -> AsyncIterator[Moment]:
        return self

    async def __anext__(self) -> Moment:
        while True:
            self._wake.clear()
            moment = self._sink.take()
            if moment is not None:
                return moment
            if self._ended:
                if self._fault is not None:
                    fault, self._fault = self._fault, None
                    raise fault
                raise StopAsyncIteration
            await self._wake.wait()

    async def events(self) -> AsyncIterator[SessionEvent]:
        """What begins and ends, until the session does. One reader at a time; the oldest of 256 unread ones goes."""
        while True:
            self._event_wake.clear()
            while self._events:
                yield self._events.popleft()
            if self._ended:
                return
            await self._event_wake.wait()

    def _run(self) -> None:
        try:
            with ended_before_python(self.stop):
                self.report = self._pipeline.run()
        except BaseException as fault:  # noqa: BLE001 - raised in the event loop by iteration or aclose()
            self._fault = fault
        finally:
            self._source.stop()
            self._call(self._end)

    def _end(self) -> None:
        self._ended = True
        self._wake.set()
        self._event_wake.set()

    def _call(self, action: Any, *arguments: Any) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(action, *arguments)

    def _moment_came(self, moment: Moment) -> None:
        """In the sink's thread."""
        until = round(moment.pts_s * SAMPLE_RATE_HZ) + FRAME_SAMPLES
        self._call(self._announce, self._source.marks(until))

    def _announce(self, marks: list[Any]) -> None:
        for mark in marks:
            pts_s = mark.sample / SAMPLE_RATE_HZ
            if mark.kind is MarkKind.STARTED:
                self._events.append(SpeechStarted(pts_s))
            else:
                self._events.append(SpeechEnded(pts_s, mark.kind is MarkKind.INTERRUPTED))
            self._event_wake.set()
        self._wake.set()


class _MomentSink:
    """Hands moments from the pipeline's thread to the event loop, through a bounded queue."""

    name = "session"

    def __init__(self, session: LiveSession, block: bool) -> None:
        self._session, self._block = session, block
        self._assembler = MomentAssembler()
        self._moments: deque[Moment] = deque()
        self._changed = threading.Condition()
        self._let_go = False
        self.dropped = 0

    def write_audio(self, chunk: AudioChunk) -> None:
        """Take sound."""
        for moment in self._assembler.hear(chunk):
            self._hand_over(moment)

    def write_frame(self, frame: Frame) -> None:
        """Take a picture."""
        for moment in self._assembler.show(frame):
            self._hand_over(moment)

    def close(self) -> None:
        """Hand over what waits for sound that does not come any more."""
        for moment in self._assembler.finish():
            self._hand_over(moment)

    def abort(self) -> None:
        """Nothing is half-written."""

    def take(self) -> Moment | None:
        """The oldest moment, None where there is none."""
        with self._changed:
            moment = self._moments.popleft() if self._moments else None
            self._changed.notify_all()
            return moment

    def mute(self, until: int) -> None:
        """Make all sound silent that nobody has taken, up to sample ``until``."""
        self._assembler.mute(until)
        with self._changed:
            for place, moment in enumerate(self._moments):
                if moment.pts_s * SAMPLE_RATE_HZ < until:
                    self._moments[place] = moment._replace(sound=np.zeros_like(moment.sound))

    def let_go(self) -> None:
        """Nobody takes moments any more."""
        with self._changed:
            self._let_go = True
            self._changed.notify_all()

    def _hand_over(self, moment: Moment) -> None:
        with self._changed:
            if self._block:
                self._changed.wait_for(lambda: len(self._moments) < WAITING_MOMENTS or self._let_go)
            if self._let_go:
                return
            if len(self._moments) >= WAITING_MOMENTS:
                self._moments.popleft()
                self.dropped += 1
            self._moments.append(moment)
        self._session._moment_came(moment)
