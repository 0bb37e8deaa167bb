from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import bench_person_lips
import numpy as np
import pytest
import torch
from result_schema import check_results, read_results

from dfanerf_rt.clip.format import Clip
from dfanerf_rt.train.sync_corpus import FINE_TUNING
from tests.benchmarks.test_lips import face


def test_every_part_is_three_stretches_and_all_are_left_out_once() -> None:
    part = bench_person_lips.parts(455)
    assert [int((part == number).sum()) for number in range(4)] == pytest.approx([114] * 4, abs=1)
    assert int((np.diff(part) != 0).sum()) == 11


def test_perfect_codes_explain_all_and_the_mean_nothing() -> None:
    made = face()
    perfect = bench_person_lips.scores(made, made.mouth_code, slice(0, 100))
    assert perfect["explained"] == (pytest.approx(1.0), 100)
    assert perfect["opening_corr"][0] == pytest.approx(1.0, abs=1e-5)
    mean = made.mouth_code[: made.n_train].mean(dim=0).expand_as(made.mouth_code)
    assert bench_person_lips.scores(made, mean, slice(0, 100))["explained"][0] == pytest.approx(0.0, abs=1e-5)


def test_what_is_left_out_is_not_learned_from() -> None:
    made = replace(face(300), n_train=270)
    training = replace(FINE_TUNING, steps=2)
    kept = bench_person_lips.parts(270) != 0
    codes = bench_person_lips.predicted(made, kept, training, seed=0)
    other = made.mouth_code.clone()
    other[:270][~kept] = 9.0
    again = bench_person_lips.predicted(replace(made, mouth_code=other), kept, training, seed=0)
    assert codes.shape == (300, 32)
    torch.testing.assert_close(codes, again, rtol=0, atol=0)


def test_writes_results(
    tiny_clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench_person_lips, "predicted", lambda face, kept, training, seed: face.mouth_code)
    out = tmp_path / "out.json"
    assert bench_person_lips.main(["--clips", str(tiny_clip.root), "--json", str(out)]) == 0
    document = read_results(out)
    check_results(document)
    assert {row["part"] for row in document["results"]} == {"left out in turn", "held out"}
    assert "in the person's range" in capsys.readouterr().out


def test_no_clip_is_said_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_person_lips.main(["--clips", str(tmp_path)]) == 2
    assert "not a prepared clip" in capsys.readouterr().err
