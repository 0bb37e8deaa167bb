"""A slowdown beyond the spread is found; noise and other machines are not taken for one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from compare import main

from tests.benchmarks.conftest import render_document, render_row


def run(folder: Path, old: dict[str, Any], new: dict[str, Any], *options: str) -> int:
    for name, document in (("old", old), ("new", new)):
        (folder / f"{name}.json").write_text(json.dumps(document), encoding="utf-8")
    return main([str(folder / "old.json"), str(folder / "new.json"), *options])


@pytest.mark.parametrize(
    ("old_p95", "new_ms", "new_p95", "status"),
    [
        (10.1, 10.4, 10.5, 0),  # 4 %
        (10.1, 10.6, 10.7, 1),  # 6 %, beyond 5 % and both spreads
        (11.0, 10.9, 11.0, 0),  # 9 %, but the old frames spread over 10 %
        (10.1, 10.9, 12.0, 0),  # 9 %, but the new ones spread over 11 %
        (11.0, 11.2, 11.3, 1),
        (10.1, 8.0, 8.1, 0),  # faster
    ],
)
def test_slower_is_beyond_five_percent_and_both_spreads(
    tmp_path: Path, old_p95: float, new_ms: float, new_p95: float, status: int
) -> None:
    old = render_document(render_row(256, 10.0, frame_ms_p95=old_p95))
    assert run(tmp_path, old, render_document(render_row(256, new_ms, frame_ms_p95=new_p95))) == status


def test_rows_on_one_side_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = render_document(render_row(128, 3.0), render_row(256, 10.0, threads=1))
    assert run(tmp_path, old, render_document(render_row(128, 3.0), render_row(512, 40.0))) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "cpu cpu 512 512 2: in the new file alone" in lines
    assert "cpu cpu 256 256 1: in the old file alone" in lines
    assert "cpu cpu 128 128 2: 3.000 -> 3.000 ms (+0.0%, spread 0.300) same" in lines


def test_another_machine_is_refused_unless_forced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = render_document(render_row(256, 10.0)), render_document(render_row(256, 20.0), cpu="another")
    assert run(tmp_path, old, new) == 2
    assert "machine.cpu is 'a processor' in the old file and 'another' in the new one" in capsys.readouterr().err
    assert run(tmp_path, old, new, "--force") == 1


def test_another_kind_another_avatar_and_damage_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = render_document(render_row(256, 10.0))
    assert run(tmp_path, old, {**old, "kind": "ops", "results": []}) == 2
    assert run(tmp_path, old, {**old, "avatar": "presenter"}) == 2
    assert run(tmp_path, old, {}) == 2
    lips = {**old, "kind": "lips", "results": []}
    assert run(tmp_path, lips, lips) == 2
    assert all(line.startswith("compare: ") for line in capsys.readouterr().err.splitlines())
