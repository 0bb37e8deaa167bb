"""Settings that change while a session speaks: what is refused, what goes on whole, what becomes another."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
import torch

from dfanerf_rt.errors import AvatarError
from dfanerf_rt.live.chain import Chain, load_chain
from dfanerf_rt.live.moments import Moment
from dfanerf_rt.live.session import LiveSession
from dfanerf_rt.motion.generator import MotionGenerator
from dfanerf_rt.motion.recorded import RecordedMotion
from tests.live.head_avatar import write_head_avatar
from tests.motion.small_person import small_person


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An avatar that generates its motion."""
    return write_head_avatar(tmp_path_factory.mktemp("moving") / "moving.safetensors", 64, small_person())


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A smaller one that replays it."""
    return write_head_avatar(tmp_path_factory.mktemp("recorded") / "recorded.safetensors", 32)


def voice(seconds: float) -> np.ndarray:
    return (0.4 * np.sin(np.arange(round(16000 * seconds)) * 0.2)).astype(np.float32)


class Watch:
    """Notes what the renderer is given."""

    def __init__(self, chain: Chain) -> None:
        self.poses: list[torch.Tensor] = []
        fold = chain.renderer.fold

        def noted(condition: torch.Tensor, head_pose: torch.Tensor) -> None:
            self.poses.append(head_pose)
            fold(condition, head_pose)

        chain.renderer.fold = noted  # type: ignore[method-assign]


async def moments_of(session: LiveSession, n: int) -> list[Moment]:
    return [await anext(session) for _ in range(n)]


def whole(moments: list[Moment]) -> np.ndarray:
    """Their sound, without a hole on the time line."""
    assert [moment.pts_s for moment in moments] == pytest.approx([k * 0.04 for k in range(len(moments))])
    return np.concatenate([moment.sound for moment in moments])


def test_all_of_it_at_once_and_the_sound_stays_whole(moving: Path) -> None:
    chain = load_chain(moving, seed=1)
    watch, sound = Watch(chain), voice(12.0)

    async def run() -> list[Moment]:
        async with LiveSession(chain, realtime=False, mark=False) as session:
            await session.push_audio(sound[:48000])
            moments = await moments_of(session, 40)
            await session.tune(temperature=0.3, seed=7, lookahead_ms=200.0)
            await session.push_audio(sound[48000:])
            moments += await moments_of(session, 100)
            assert chain.encoder.lookahead_ms == 200.0
            await session.tune(lookahead_ms=0.0)
            session.finish()
            return moments + [moment async for moment in session]

    moments = asyncio.run(run())
    np.testing.assert_array_equal(whole(moments), sound)
    assert not any(moment.repeated for moment in moments)
    assert chain.encoder.lookahead_ms == 0.0
    motion = chain.motion
    assert isinstance(motion, MotionGenerator) and motion.temperature == 0.3
    expected = MotionGenerator(motion.person, 7).state()["head"]["seed"]
    assert motion.state()["head"]["seed"] == expected
    usual = MotionGenerator(small_person(), 1)
    still = torch.stack([usual.next()[0] for _ in range(300)]).diff(dim=0).abs().max()
    steps = torch.stack(watch.poses).diff(dim=0).abs().max(dim=1).values
    assert float(steps.max()) < 1.3 * float(still), "the head goes on from where it is"


def test_in_real_time_neither_sound_nor_a_second_is_lost(moving: Path) -> None:
    chain = load_chain(moving, lookahead_ms=0.0)

    async def run() -> list[Moment]:
        async with LiveSession(chain, mark=False) as session:
            await session.push_audio(voice(6.0))
            session.end_segment()
            moments = await moments_of(session, 20)
            await session.tune(lookahead_ms=60.0)
            return moments + await moments_of(session, 100)

    heard = whole(asyncio.run(run()))
    begins = int(np.flatnonzero(heard)[0]) - 1  # the first sample of a sine is 0
    np.testing.assert_array_equal(heard[begins:], voice(6.0)[: len(heard) - begins])
    assert chain.encoder.lookahead_ms == 60.0


def test_what_the_avatar_cannot_follow_is_refused_and_nothing_changes(moving: Path, recorded: Path) -> None:
    async def run() -> None:
        chain = load_chain(moving)
        async with LiveSession(chain, realtime=False) as session:
            for settings, said in (
                ({"temperature": -1.0}, "temperature is -1"),
                ({"temperature": float("nan")}, "temperature is nan"),
                ({"temperature": 0.5, "lookahead_ms": 900.0}, "trained for 0 to 200 ms"),
                ({"lookahead_ms": float("nan")}, "trained for 0 to 200 ms"),
            ):
                with pytest.raises(AvatarError, match=said):
                    await session.tune(**settings)
            await session.push_audio(voice(0.4))
            session.finish()
            assert len([moment async for moment in session]) == 10
        assert isinstance(chain.motion, MotionGenerator) and chain.motion.temperature == 1.0
        for motion, settings, said in (
            ("recorded", {"temperature": 0.5}, "directs generated motion, not recorded"),
            ("still", {"seed": 3}, "changes nothing in still motion"),
        ):
            async with LiveSession(load_chain(recorded, motion=motion), realtime=False) as session:  # type: ignore[arg-type]
                with pytest.raises(AvatarError, match=said):
                    await session.tune(**settings)  # type: ignore[arg-type]

    asyncio.run(run())


def test_a_seed_moves_what_was_recorded_to_another_place(recorded: Path) -> None:
    chain = load_chain(recorded)
    motion = chain.motion
    assert isinstance(motion, RecordedMotion)

    async def run() -> list[int]:
        async with LiveSession(chain, realtime=False) as session:
            places = [motion.position]
            for seed in (5, 6):
                await session.tune(seed=seed)
                await session.push_audio(voice(0.4))
                await moments_of(session, 5)
                places.append(motion.position)
            return places

    before, first, second = asyncio.run(run())
    assert before == 0 and first != second and first > 10


def test_another_avatar_speaks_on(moving: Path, recorded: Path) -> None:
    sound = voice(6.0)

    async def run() -> list[Moment]:
        async with LiveSession(load_chain(moving), realtime=False, mark=False) as session:
            await session.push_audio(sound[:48000])
            moments = await moments_of(session, 30)
            session.become(load_chain(recorded))
            assert (session.width, session.height) == (32, 32)
            await session.push_audio(sound[48000:])
            await session.tune(lookahead_ms=140.0)
            session.finish()
            return moments + [moment async for moment in session]

    moments = asyncio.run(run())
    np.testing.assert_array_equal(whole(moments), sound)
    widths = [moment.frame.shape[1] for moment in moments]
    cut = widths.index(32)
    assert widths == [64] * cut + [32] * (150 - cut) and 30 <= cut < 110
