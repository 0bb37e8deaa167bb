"""The bundled presenter's eyes close by their code, and its mouth stays where it was (the paper's fig. 7)."""

from __future__ import annotations

from pathlib import Path

import bench_eyes
import pytest
from result_schema import read_results

pytest.importorskip("mediapipe", reason="mediapipe is not installed (extra: track)")


def test_the_presenters_eyes(tmp_path: Path) -> None:
    target, sheet = tmp_path / "eyes.json", tmp_path / "eyes.jpg"
    assert bench_eyes.main(["--poses", "2", "--json", str(target), "--sheet", str(sheet)]) == 0
    rows = [row for row in read_results(target)["results"] if row["subject"] == "all"]
    assert {row["measure"] for row in rows} == {"closed_over_open", "mouth_shift_px"}
    assert all(0.0 < row["value"] <= row["limit"] for row in rows) and sheet.is_file()


def test_what_cannot_be_used_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_eyes.main(["--avatar", str(tmp_path / "none.safetensors")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
