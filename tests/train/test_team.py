"""Two processes train one field as one process does that looks at twice as many frames a step."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dfanerf_rt.clip.format import Clip
from dfanerf_rt.errors import BackendUnavailable, DfanerfError
from dfanerf_rt.files import load_tensors
from dfanerf_rt.train.team import Team, join_team

REPOSITORY = Path(__file__).resolve().parent.parent.parent
WORKER = Path(__file__).parent / "team_worker.py"
STEPS = 120


def torchrun(*arguments: str, processes: int = 2) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    return subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def ended(tiny_clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, torch.Tensor]]:
    """What each process ended with: two together with 1 frame a step each, and one with 2."""
    folder = tmp_path_factory.mktemp("team")
    clip = str(tiny_clip.root)
    together = torchrun(str(WORKER), clip, str(folder), str(STEPS), "1", "3000")
    assert together.returncode == 0, together.stderr
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    alone = [sys.executable, str(WORKER), clip, str(folder), str(STEPS), "2", "6000"]
    subprocess.run(alone, env=environment, check=True)
    return {path.stem: load_tensors(path, DfanerfError)[0] for path in folder.iterdir()}


def test_all_processes_end_with_the_same_field(ended: dict[str, dict[str, torch.Tensor]]) -> None:
    first, second = ended["rank0of2"], ended["rank1of2"]
    for name in first.keys() - {"looked"}:
        assert torch.equal(first[name], second[name]), name
    assert float(first["refinement"].abs().max()) > 0.0


def test_no_frame_is_looked_at_twice_in_a_step(ended: dict[str, dict[str, torch.Tensor]]) -> None:
    first, second = ended["rank0of2"]["looked"], ended["rank1of2"]["looked"]
    assert len(first) == len(second) == STEPS and not (first == second).any()


def test_the_loss_falls_as_that_of_one_process(ended: dict[str, dict[str, torch.Tensor]]) -> None:
    together, alone = (ended[name]["losses"].view(6, -1).mean(1) for name in ("rank0of2", "rank0of1"))
    assert float(alone[-1]) < 0.75 * float(alone[0])
    torch.testing.assert_close(together, alone, rtol=0.1, atol=0.0)


def test_one_process_is_no_team(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    with join_team("cpu") as team:
        assert (team.rank, team.size, team.first) == (0, 1, True)
        value = torch.ones(2)
        assert team.largest_(value) is value and team.mean({"a": 1.0}) == {"a": 1.0} and team.part([1, 2]) == [1, 2]
    assert [Team(rank, 2).part([1, 2, 3, 4]) for rank in (0, 1)] == [[1, 2], [3, 4]]
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(DfanerfError, match="use torchrun"), join_team("cpu"):
        pass


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there() -> None:
    with pytest.raises(BackendUnavailable, match="no CUDA GPU here; train with --device cpu"), join_team("cuda"):
        pass


@pytest.mark.slow
def test_the_command_under_torchrun(tiny_clip: Clip, tmp_path: Path) -> None:
    out = tmp_path / "a.safetensors"
    arguments = ["train", str(tiny_clip.root), "--out", str(out), "--preset", "tiny", "--minutes", "0.2"]
    done = torchrun("-m", "dfanerf_rt.cli.main", *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("trained in") == 1 and out.is_file()
    from dfanerf_rt.avatar import Avatar

    assert Avatar.load(str(out)).meta.training["processes"] == 2
    failed = torchrun("-m", "dfanerf_rt.cli.main", "train", str(tmp_path / "none"), "--out", str(out))
    assert failed.returncode != 0 and "not a prepared clip" in failed.stderr
