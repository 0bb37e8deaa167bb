"""The measures of a soak, on numbers; and the script itself, for seconds."""

from __future__ import annotations

from pathlib import Path

import pytest
import soak_live
from result_schema import read_results

from tests.live.head_avatar import write_head_avatar


def test_stalls_and_drift() -> None:
    # 0.04 s apart; then 0.3 s with six places passed over; then 0.3 s with none.
    assert soak_live.stalls([0, 1, 2, 9, 10], [0.0, 0.04, 0.08, 0.38, 0.68]) == (2, 1)
    assert soak_live.stalls([0, 1, 3], [0.0, 0.04, 0.12]) == (0, 0)
    assert soak_live.drift_ms([100.0] * 10 + [110.0] * 80 + [130.0] * 10) == pytest.approx(30.0)


def test_the_script_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    avatar = write_head_avatar(tmp_path / "head.safetensors")
    status = soak_live.main([str(avatar), "--minutes", "0.05", "--json", str(tmp_path / "a.json")])
    rows = {row["measure"]: row for row in read_results(tmp_path / "a.json")["results"]}
    assert rows["minutes"]["value"] == pytest.approx(0.05) and rows["start_s"]["value"] > 0
    broken = [row for row in rows.values() if row["limit"] is not None and abs(row["value"]) > row["limit"]]
    assert status == bool(broken) and capsys.readouterr().out.count(": broken") == len(broken)
