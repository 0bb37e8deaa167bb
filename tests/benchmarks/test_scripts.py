"""Every script of the benchmarks runs at tiny sizes, and what it writes is well formed."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import bench_ops
import bench_render
import bench_sync
import ceilings
import numpy as np
import pytest
import render_quality
import torch
from op_cases import CASES, Case
from result_schema import read_results
from timing import p50, p95, time_calls

from dfanerf_rt.backends.registry import OPERATORS
from dfanerf_rt.clip.format import Clip
from dfanerf_rt.field.config import FieldConfig
from dfanerf_rt.ops.dispatch import reasons
from dfanerf_rt.render.synthetic import head_avatar
from tests.benchmarks.conftest import BENCHMARKS, render_document, render_row
from tests.live.head_avatar import write_head_avatar

needs_native = pytest.mark.skipif(
    reasons("render_field", "cpu")["cpu"] is not None, reason=str(reasons("render_field", "cpu")["cpu"])
)
TINY = ["--sizes", "8", "--frames", "3", "--seconds", "0.2"]


@pytest.fixture(autouse=True)
def short_ceilings(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ceilings.measure
    monkeypatch.setattr(ceilings, "measure", lambda device, threads: whole(device, threads, 0.01))


@needs_native
def test_renderer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "render.json"
    options = ["--threads", "1", "2", "--quality", "--quality-frames", "2", "--json", str(target)]
    assert bench_render.main([*TINY, *options]) == 0
    document = read_results(target)
    rows = {(row["backend"], row["threads"]): row for row in document["results"]}
    assert set(rows) == {("cpu", 1), ("cpu", 2), ("reference", 2)}
    fast = rows["cpu", 2]
    assert fast["psnr_to_reference_db"] > 40.0 and fast["mean_error_255"] < 1.0
    assert fast["ratio_to_reference"] > 0.0 and fast["samples_per_frame"] > 100
    assert fast["multiply_adds_per_frame"] == 6400 * fast["samples_per_frame"]
    assert fast["gathers_per_frame"] == 128 * fast["samples_per_frame"]
    assert 0.0 < fast["share_of_multiply_adds"] < 1.0 and 0.0 < fast["share_of_gathers"] < 1.0
    assert rows["cpu", 1]["ratio_to_reference"] is None
    assert rows["cpu", 1]["null_because"] == "the reference was timed with 2 threads"
    assert "nerfacc" in document["absent"] and document["quality"][0]["frames"] == 2
    text = capsys.readouterr().out
    assert "2 threads are worth" in text and "of the ceiling" in text


@needs_native
def test_renderer_where_the_reference_is_not_run(tmp_path: Path) -> None:
    target = tmp_path / "render.json"
    assert bench_render.main([*TINY, "--reference-max", "4", "--json", str(target)]) == 0
    (row,) = read_results(target)["results"]
    assert row["backend"] == "cpu" and row["ratio_to_reference"] is None and row["psnr_to_reference_db"] is None
    assert row["null_because"] == "the reference was not run above 4 px (--reference-max)"


@needs_native
def test_a_wrong_picture_is_not_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_render, "MIN_PSNR_DB", 98.0)
    target = tmp_path / "render.json"
    assert bench_render.main([*TINY, "--json", str(target)]) == 1
    document = read_results(target)
    assert [row["backend"] for row in document["results"]] == ["reference"]
    assert "not timed" in document["absent"]["cpu"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("script", [bench_render, bench_ops])
def test_a_gpu_that_is_not_there_is_one_line(script: ModuleType) -> None:
    with pytest.raises(SystemExit, match="torch finds no CUDA GPU here"):
        script.main(["--device", "cuda"])


def test_inputs_change_from_frame_to_frame() -> None:
    """A session renders an unchanged frame only once, which would be no benchmark."""
    inputs = bench_render.frame_inputs(head_avatar(8), bench_render.N_INPUTS)
    for one, other in zip(inputs, [*inputs[1:], inputs[0]], strict=True):
        assert not torch.equal(one[0], other[0])


@needs_native
def test_quality_on_a_clip(tiny_clip: Clip) -> None:
    from tests.evaluate.untrained import untrained_avatar

    avatar = untrained_avatar(tiny_clip)
    (row,) = render_quality.clip_scores(avatar, tiny_clip.root, ["cpu"], "cpu", 1)
    assert row["frames"] == 1 and row["width"] == tiny_clip.meta.width
    assert render_quality.faults(row) == []
    assert len(render_quality.faults({**row, "mean_error_255": 1.1})) == 1
    assert len(render_quality.faults({**row, "truth_psnr_db": row["reference_truth_psnr_db"] - 0.6})) == 1


def test_operators(tmp_path: Path) -> None:
    target = tmp_path / "ops.json"
    options = ["--samples", "300", "--calls", "3", "--seconds", "0.05", "--threads", "1", "--json", str(target)]
    assert bench_ops.main(options) == 0
    rows = read_results(target)["results"]
    for operator in OPERATORS:
        timed = {(row["backend"], row["direction"]) for row in rows if row["operator"] == operator}
        able = [name for name, reason in reasons(operator, "cpu").items() if reason is None]
        both = operator in ("composite_rays", "condition_layer", "hash_encode", "mlp")
        assert timed == {(name, way) for name in able for way in (("forward", "backward") if both else ("forward",))}
    assert all(row["mismatch"] <= bench_ops.MAX_MISMATCH and row["ms_p95"] >= row["ms_p50"] for row in rows)


def test_sync(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target, avatar = tmp_path / "sync.json", str(write_head_avatar(tmp_path / "head.safetensors"))
    options = ["--rate", "44100", "--channels", "2", "--calls", "5", "--seconds", "0.05", "--json", str(target)]
    assert bench_sync.main(["--avatar", avatar, *options]) == 0
    document = read_results(target)
    rows = {row["part"]: row for row in document["results"]}
    assert list(rows) == ["intake", "mfcc", "encoder", "all"] and document["kind"] == "sync"
    assert document["encoder_weights"] > 10_000 and document["budget_ms"] == 2.0
    assert all(row["rate_hz"] == 44_100 and row["threads"] == 1 and row["ms_p50"] > 0.0 for row in rows.values())
    assert rows["all"]["difference"] <= 1e-5 and rows["encoder"]["difference"] is None
    assert rows["all"]["ms_p50"] > max(rows[part]["ms_p50"] for part in ("intake", "mfcc", "encoder"))
    assert "of the budget of 2 ms" in capsys.readouterr().out


def test_sound_that_streams_wrongly_is_not_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    encode = bench_sync.encode_audio
    monkeypatch.setattr(bench_sync, "encode_audio", lambda encoder, sound: encode(encoder, 0.1 * sound))
    avatar = str(write_head_avatar(tmp_path / "head.safetensors"))
    assert bench_sync.main(["--avatar", avatar, "--json", str(tmp_path / "sync.json")]) == 1
    said = capsys.readouterr()
    assert said.err.startswith("bench_sync: all: streaming differs from offline by ") and said.out == ""
    assert not (tmp_path / "sync.json").exists()


def test_sync_refuses_what_cannot_be(tmp_path: Path) -> None:
    avatar = str(write_head_avatar(tmp_path / "head.safetensors"))
    for options, said in (
        (["--avatar", avatar, "--rate", "100"], "sampling rate is 100 Hz"),
        (["--avatar", "nobody"], "no such avatar"),
    ):
        with pytest.raises(SystemExit, match=f"bench_sync: .*{said}"):
            bench_sync.main(options)


def test_every_operator_has_a_case() -> None:
    assert set(CASES) == set(OPERATORS)


def test_a_wrong_operator_is_found() -> None:
    right = torch.arange(4000.0)
    wrong = right.clone()
    wrong[:8] += 10.0
    assert bench_ops.mismatch((right,), (right,), exact=True) == 0.0
    assert bench_ops.mismatch((wrong,), (right,), exact=True) == pytest.approx(2e-3)
    assert bench_ops.mismatch((right.clone().fill_(float("nan")),), (right,), exact=True) == 1.0
    assert bench_ops.mismatch((right[1:],), (right,), exact=True) == 1.0
    picture = torch.full((8, 8, 3), 0.5)
    assert bench_ops.mismatch((picture + 0.005,), (picture,), exact=False) == 0.0  # 46 dB
    assert bench_ops.mismatch((picture + 0.02,), (picture,), exact=False) == 1.0  # 34 dB


def test_a_case_that_differs_is_reported_and_not_timed() -> None:
    wrong = Case(10, lambda backend: (torch.full((10,), float(backend == "cpu")),))
    rows, faults = bench_ops.bench_case("sum", wrong, ["cpu"], "cpu", 3, 0.01)
    assert [row["backend"] for row in rows] == ["reference"]
    assert faults == ["sum forward on cpu: 100.00% of the values differ from the reference's; not timed"]


def test_ceilings(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    found = ceilings.measure("cpu", 1)
    assert found["multiply_adds_per_s"] > 1e8 and found["gathers_per_s"] > 1e6
    monkeypatch.setattr(sys, "argv", ["ceilings.py", "--threads", "1"])
    ceilings.main()
    assert "gathers_per_s_2mb_table" in capsys.readouterr().out


def test_work_of_a_sample() -> None:
    """32 x 64 + 64 x 64 + 64 x 4 multiply-adds; 16 levels of 8 corners of one word."""
    assert ceilings.work_per_sample(FieldConfig()) == (6400, 128)
    assert ceilings.work_per_sample(dataclasses.replace(FieldConfig(), n_features=4, n_levels=8)) == (6400, 128)


def test_gather_kernel_gathers() -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    script = (
        "import torch; from gather_kernel import BLOCK, GATHERS_A_LANE, gather\n"
        "out = torch.full((2 * BLOCK,), -1.0); gather(torch.full((64,), 0.5), out)\n"
        "assert bool((out == 0.5 * GATHERS_A_LANE).all()), out\n"
    )
    environment = {
        **os.environ,
        "TRITON_INTERPRET": "1",
        "PYTHONPATH": f"{BENCHMARKS}:{os.environ.get('PYTHONPATH', '')}",
    }
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_percentiles() -> None:
    times = [float(value) for value in range(1, 101)]
    assert p50(times) == 50.5 and p95(times) == 96.0 and p95([3.0]) == 3.0
    calls: list[int] = []
    assert len(time_calls(lambda: calls.append(1), "cpu", 7, 10.0)) == 7 and len(calls) == 9


def test_plot_is_the_same_for_the_same_results(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    import plot
    from result_schema import write_results

    rows = [
        render_row(width, width**2 / (8000.0 * threads), threads=threads) for width in (128, 256) for threads in (1, 2)
    ]
    source = tmp_path / "r.json"
    write_results(source, render_document(*rows))
    for suffix in ("svg", "png"):
        drawn = [tmp_path / f"{number}.{suffix}" for number in range(2)]
        for target in drawn:
            assert plot.main([str(source), "--out", str(target)]) == 0
        assert drawn[0].read_bytes() == drawn[1].read_bytes()
    text = (tmp_path / "0.svg").read_text(encoding="utf-8")
    assert "cpu, 2 threads" in text and "256 px" in text


def test_plot_of_the_committed_results_and_of_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    import plot

    assert plot.main(["--out", str(tmp_path / "speed.svg")]) == 0
    assert plot.main([str(tmp_path / "missing.json"), "--out", str(tmp_path / "x.svg")]) == 2
    assert "plot: " in capsys.readouterr().err


def test_true_motion_of_a_rendered_head(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("mediapipe", reason="mediapipe is not installed")
    import bench_track
    from result_schema import read_results

    from dfanerf_rt.avatar import Avatar
    from dfanerf_rt.clip.rendered import render_clip

    clip = render_clip(tmp_path / "clip", Avatar.load("presenter"), 40, 192)
    out = tmp_path / "track.json"
    assert bench_track.main(["--clips", str(clip.root), "--json", str(out)]) == 0
    rows = {(row["stage"], row["measure"]): row["value"] for row in read_results(out)["results"]}
    assert rows["landmarks and pictures", "motion_error_px"] < rows["landmarks", "motion_error_px"] < 3.0
    assert bench_track.main(["--clips", str(tmp_path / "none")]) == 2
    assert "bench_track: " in capsys.readouterr().err


def test_preparation(shared_data: Path, tmp_path: Path) -> None:
    from dfanerf_rt.clip.video import read_video
    from tests.clip.made_videos import write_video

    _, frames = read_video(shared_data / "video" / "speaker_5s.mp4")
    pictures = [frame for _, frame in zip(range(52), frames, strict=False)]
    video = write_video(tmp_path / "short.mkv", pictures, np.arange(len(pictures)) / 25)
    command = [sys.executable, str(BENCHMARKS / "bench_prepare.py"), str(video), "--size", "64"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert '"tracked_share": 1.0' in done.stdout
