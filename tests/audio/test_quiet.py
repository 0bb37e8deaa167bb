from __future__ import annotations

import numpy as np

from dfanerf_rt.audio.quiet import BREATH_DBFS, ROOM_DBFS, nobody_speaks


def test_rooms_are_quiet_and_of_every_kind() -> None:
    random = np.random.default_rng(0)
    rooms = [nobody_speaks(16_000, random) for _ in range(200)]
    levels = [10 * np.log10(np.mean(np.square(room, dtype=np.float64)) + 1e-12) for room in rooms]
    assert 10 < sum(level == -120.0 for level in levels) < 60  # digital silence: 15 % of them
    assert ROOM_DBFS[0] - 1 < min(level for level in levels if level > -119)
    assert max(levels) < BREATH_DBFS[1] + 1
    assert all(room.dtype == np.float32 and np.isfinite(room).all() for room in rooms)


def test_the_same_seed_is_the_same_silence() -> None:
    one, other = (nobody_speaks(8000, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert nobody_speaks(0, np.random.default_rng(0)).shape == (0,)
