"""Results hold what their readers expect, those in the repository among them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import result_schema
from result_schema import check_results, machine, read_results, write_results

from tests.benchmarks.conftest import BENCHMARKS, render_document, render_row

COMMITTED = sorted((BENCHMARKS / "results").glob("*.json"))


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_committed_results_are_well_formed(path: Path) -> None:
    assert read_results(path)["results"]


def test_there_are_results() -> None:
    assert COMMITTED


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fps": None}, r"results\[0\]\.fps is None, expected float"),
        ({"fps": True}, r"results\[0\]\.fps is True, expected float"),
        ({"width": 256.0}, r"results\[0\]\.width is 256\.0, expected int"),
        ({"samples_per_frame": "many"}, r"results\[0\]\.samples_per_frame is 'many', expected int or null"),
        ({"ratio_to_reference": None}, r"results\[0\]\.null_because is missing"),
    ],
)
def test_the_first_fault_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_results(render_document({**render_row(256, 10.0), **change}))


def test_a_comparison_may_be_null_with_its_reason() -> None:
    check_results(render_document(render_row(256, 10.0, ratio_to_reference=None, null_because="not run above 512 px")))


def test_other_documents_are_refused() -> None:
    for document in ([], {}, {"kind": "speed"}):
        with pytest.raises(ValueError, match=r"'kind' is 'render', 'ops', .*, 'presenter' or 'track'"):
            check_results(document)
    with pytest.raises(ValueError, match=r"machine\.torch is None, expected str"):
        check_results(render_document(torch=None))
    with pytest.raises(ValueError, match="results is None, expected a list"):
        check_results({**render_document(), "results": None})


def test_a_file_is_named_with_its_fault(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"r\.json: "):
        read_results(path)
    write_results(tmp_path / "new" / "r.json", render_document(render_row(8, 1)))
    assert read_results(tmp_path / "new" / "r.json")["results"][0]["width"] == 8


def test_the_machine_says_which_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DFANERF_COMMIT", "abc-dirty")
    found = machine()
    assert found["commit"] == "abc-dirty"
    check_results({**render_document(), "machine": json.loads(json.dumps(found))})
    monkeypatch.delenv("DFANERF_COMMIT")
    monkeypatch.setattr(result_schema, "REPOSITORY", Path("/"))
    assert machine()["commit"] is None  # a tree without its history
