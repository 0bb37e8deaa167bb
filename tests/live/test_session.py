"""LiveSession: what is pushed is said, once; events; barge-in; slow readers; faults."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np
import pytest
import torch

from dfanerf_rt.errors import AudioError
from dfanerf_rt.live.chain import Chain, load_chain
from dfanerf_rt.live.moments import Moment
from dfanerf_rt.live.session import WAITING_MOMENTS, LiveSession, SessionEvent, SpeechEnded, SpeechStarted
from tests.live.doubles import BarRenderer, CountingMotion, LevelEncoder


def cheap_chain(**renderer: Any) -> Chain:
    """White pictures where the sound is loud; 120 ms of look-ahead."""
    return Chain(None, LevelEncoder(3), CountingMotion(), BarRenderer(**renderer), "still")  # type: ignore[arg-type]


def loud(seconds: float) -> np.ndarray:
    return (0.5 * np.sin(np.arange(round(16000 * seconds)) * 0.3)).astype(np.float32)


def white(moment: Moment) -> bool:
    return bool(moment.frame[0, 0, 0] > 128)


def test_fast_says_all_of_it_and_ends() -> None:
    async def run() -> list[Moment]:
        async with LiveSession(cheap_chain(), realtime=False, mark=False) as session:
            pushing = asyncio.create_task(session.push_audio(loud(40.0)))  # more than the buffer holds
            moments = []
            async for moment in session:
                moments.append(moment)
                if pushing.done():
                    assert pushing.result()
                    session.finish()
            assert session.report is not None and session.dropped_moments == 0
        return moments

    moments = asyncio.run(run())
    assert [moment.pts_s for moment in moments] == pytest.approx([k * 0.04 for k in range(1000)])
    np.testing.assert_array_equal(np.concatenate([moment.sound for moment in moments]), loud(40.0))
    assert all(white(moment) for moment in moments)


def test_other_rates_and_types_are_converted() -> None:
    async def run() -> np.ndarray:
        async with LiveSession(cheap_chain(), realtime=False, rate_hz=48000, channels=2) as session:
            stereo = np.repeat((np.sin(np.arange(48000) * 0.1) * 16000).astype(np.int16)[:, None], 2, axis=1)
            assert await session.push_audio(stereo)
            session.finish()
            return np.concatenate([moment.sound async for moment in session])

    sound = asyncio.run(run())
    assert len(sound) == 16000 and np.abs(sound).max() == pytest.approx(16000 / 32768, rel=0.02)


def test_nan_and_absurd_sound_is_refused_and_the_session_lives_on() -> None:
    async def run() -> np.ndarray:
        async with LiveSession(cheap_chain(), realtime=False) as session:
            for bad, said in (
                (np.full(160, np.nan, np.float32), "NaN or infinite"),
                (np.full(160, np.inf, np.float32), "NaN or infinite"),
                (np.full(160, 1e6, np.float32), "expected floating-point samples in"),
                (np.zeros((160, 3), np.float32), "shape"),
                (np.zeros(160, np.uint8), "of type uint8"),
            ):
                with pytest.raises(AudioError, match=said):
                    await session.push_audio(bad)
            await session.push_audio(loud(0.4))
            session.finish()
            return np.concatenate([moment.sound async for moment in session])

    np.testing.assert_array_equal(asyncio.run(run()), loud(0.4))


def test_events_say_when_speech_begins_and_ends() -> None:
    async def run() -> tuple[list[SessionEvent], list[Moment]]:
        async with LiveSession(cheap_chain(), mark=False) as session:
            events: list[SessionEvent] = []

            async def listen() -> None:
                events.extend([event async for event in session.events()])

            listener = asyncio.create_task(listen())
            await session.push_audio(loud(0.2))
            session.end_segment()
            moments = []
            async for moment in session:
                moments.append(moment)
                if len(moments) == 15:
                    await session.push_audio(loud(0.2))
                    session.end_segment()
                if len(events) == 4 or len(moments) > 500:
                    break
        await asyncio.wait_for(listener, 30)
        return events, moments

    events, moments = asyncio.run(run())
    assert [type(event) for event in events] == [SpeechStarted, SpeechEnded, SpeechStarted, SpeechEnded]
    first, second = events[:2], events[2:]
    for started, ended in (first, second):
        assert isinstance(ended, SpeechEnded) and not ended.interrupted
        assert ended.pts_s - started.pts_s == pytest.approx(0.2, abs=0.011)
    sound = np.concatenate([moment.sound for moment in moments])
    begins = np.flatnonzero(np.abs(sound) > 0.1)[0] / 16000
    assert first[0].pts_s == pytest.approx(begins, abs=0.001)
    assert second[0].pts_s >= 14 * 0.04


async def barge_in(session: LiveSession, at_rest: Any, after: int) -> tuple[float, int, list[Moment]]:
    """Speak, interrupt after so many moments of speech; returns the seconds and moments until the mouth rests."""
    await session.push_audio(loud(20.0))
    spoken = 0
    async for moment in session:
        spoken += not at_rest(moment)
        if spoken >= after:
            break
    session.clear_buffer()
    began_s, seen = time.monotonic(), []
    async for moment in session:
        seen.append(moment)
        if at_rest(moment) and not moment.repeated:
            return time.monotonic() - began_s, len(seen), seen
    raise AssertionError("the session ended")


def test_barge_in_reaches_a_resting_mouth_within_100_ms() -> None:
    async def run() -> list[tuple[float, int, list[Moment]]]:
        async with LiveSession(cheap_chain(), mark=False) as session:
            return [await barge_in(session, lambda moment: not white(moment), after) for after in (12, 7, 15)]

    tries = asyncio.run(run())
    print([f"{1000 * seconds:.0f} ms, {n} pictures" for seconds, n, _ in tries])
    assert min(seconds for seconds, _, _ in tries) < 0.1
    for _, n, seen in tries:
        assert n <= 4, "two may be in the making; 120 ms of look-ahead would be three more"
        assert not any(moment.sound.any() for moment in seen), "the voice is silent at once"


def test_after_barge_in_speech_is_as_before() -> None:
    async def run() -> tuple[list[Moment], list[SessionEvent]]:
        async with LiveSession(cheap_chain(), mark=False) as session:
            await barge_in(session, lambda moment: not white(moment), 10)
            await session.push_audio(loud(0.4))
            session.end_segment()
            moments, events = [], []
            async for event in session.events():
                events.append(event)
                if len(events) == 4:
                    break
            while len(moments) < 30:
                moments.append(await anext(session))
            return moments, events

    moments, events = asyncio.run(run())
    kinds = [(type(event), getattr(event, "interrupted", None)) for event in events]
    assert kinds == [(SpeechStarted, None), (SpeechEnded, True), (SpeechStarted, None), (SpeechEnded, False)]
    assert np.diff([moment.pts_s for moment in moments]) == pytest.approx(0.04), "no place is lost or doubled"
    for moment in moments:
        if not moment.repeated:
            assert white(moment) == bool(np.abs(moment.sound).max() > 0.25), "lips stand with their sound"


@pytest.mark.slow
def test_the_presenter_rests_after_barge_in() -> None:
    chain = load_chain("presenter", size=64, motion="still")
    rest_code = next(iter(chain.encoder.push(np.zeros(16000, np.float32))))
    chain.encoder.reset()
    chain.renderer.fold(torch.cat([rest_code, chain.motion.next()[1]]), chain.motion.next()[0])
    rest = chain.renderer.render().numpy().astype(int).copy()
    voice = np.random.default_rng(0).normal(0, 0.2, 16000 * 20).clip(-1, 1).astype(np.float32)

    def away(moment: Moment) -> float:
        return float(np.abs(moment.frame.astype(int) - rest).mean())

    async def run() -> tuple[float, list[float]]:
        async with LiveSession(chain, mark=False) as session:
            await session.push_audio(voice)
            spoken = [away(await anext(session)) for _ in range(30)][-10:]
            session.clear_buffer()
            return max(spoken), [away(await anext(session)) for _ in range(8)]

    moved, after = asyncio.run(run())
    print(f"speaking {moved:.2f}, after {np.round(after, 2)}")
    assert moved > 0.05
    assert max(after[4:]) < 0.1 * moved, "whoever was speaking has closed the mouth four pictures later at the latest"


def test_a_slow_reader_loses_the_oldest_moments_and_they_are_counted() -> None:
    async def run() -> tuple[list[Moment], int]:
        async with LiveSession(cheap_chain()) as session:
            await asyncio.sleep(2.0)
            moments = [await anext(session) for _ in range(WAITING_MOMENTS)]
            return moments, session.dropped_moments

    moments, dropped = asyncio.run(run())
    assert dropped >= 10
    assert moments[0].pts_s >= 0.4 - 1e-6 and len(moments) == WAITING_MOMENTS


def test_a_fault_of_the_renderer_reaches_the_reader() -> None:
    class BrokenRenderer(BarRenderer):
        def render(self, out: torch.Tensor | None = None) -> torch.Tensor:
            raise RuntimeError("no picture")

    chain = cheap_chain()
    chain.renderer = BrokenRenderer()

    async def run() -> None:
        async with LiveSession(chain) as session:
            async for _ in session:
                pass

    with pytest.raises(RuntimeError, match="no picture"):
        asyncio.run(run())
