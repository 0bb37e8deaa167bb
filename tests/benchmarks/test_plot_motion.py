from __future__ import annotations

from pathlib import Path

import numpy as np
import plot_motion
import pytest
import torch
from PIL import Image
from plot_motion import Shown, draw_distributions, draw_latents, draw_overlaid, draw_side_by_side, principal_plane

from dfanerf_rt.clip.format import Clip


def _motion(name: str, seed: int) -> Shown:
    random = np.random.default_rng(seed)
    pose = np.cumsum(0.01 * random.standard_normal((400, 6)), axis=0)
    stress = np.maximum(random.standard_normal(400), 0.0)
    return Shown(name, pose, np.clip(random.normal(1.0, 0.1, 400), 0.0, 1.2), stress)


def _colours(path: Path) -> int:
    """How many colours a picture has: an empty one has few."""
    with Image.open(path) as picture:
        return len(set(picture.convert("RGB").resize((300, 300)).getdata()))


def test_every_figure_is_drawn_and_the_same_motion_gives_the_same_file(tmp_path: Path) -> None:
    motions = [_motion("truth", 0), _motion("seed 0", 1)]
    random = np.random.default_rng(0)
    people = {name: random.normal(index, 0.3, (50, 8)) for index, name in enumerate(("one", "two", "three"))}
    for run in ("first", "second"):
        folder = tmp_path / run
        draw_side_by_side(motions, folder / "side.png", start_s=2.0, seconds=10.0)
        draw_overlaid(motions[0], motions[1:], folder / "over.png")
        draw_distributions(motions, folder / "distributions.png")
        draw_latents({"with sound": people, "without sound": people}, folder / "latents.svg")
    for name in ("side.png", "over.png", "distributions.png", "latents.svg"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    assert all(_colours(tmp_path / "first" / name) > 100 for name in ("side.png", "over.png", "distributions.png"))
    svg = (tmp_path / "first" / "latents.svg").read_text()
    assert all(word in svg for word in ("with sound", "without sound", "three"))


def test_eyes_that_were_not_tracked_leave_their_panel_empty(tmp_path: Path) -> None:
    blind = Shown("blind", _motion("", 0).head_pose)
    draw_side_by_side([blind], tmp_path / "side.png")
    draw_overlaid(blind, [_motion("other", 1)], tmp_path / "over.png")
    assert (tmp_path / "side.png").is_file() and (tmp_path / "over.png").is_file()


def test_the_plane_of_the_largest_spread() -> None:
    corners = np.array(
        [[3.0, 0.0, 0.0], [-3.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, -2.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, -1.0]]
    )
    points, explained = principal_plane(corners + 5.0)
    assert np.abs(points[0]) == pytest.approx([3.0, 0.0], abs=1e-9)
    assert np.abs(points[2]) == pytest.approx([0.0, 2.0], abs=1e-9)
    assert explained == pytest.approx((9 + 4) / (9 + 4 + 1))
    flat, whole = principal_plane(corners[:, :2])
    assert flat == pytest.approx(corners[:, :2]) and whole == 1.0


def test_the_command_draws_a_clip_and_a_track(
    tiny_clip: Clip, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(
        {"euler": 0.1 * torch.rand(100, 3), "trans": torch.tensor([0.0, 0.0, -8.0]) + 0.1 * torch.rand(100, 3)},
        tmp_path / "a.pt",
    )
    options = ["--out", str(tmp_path / "out"), "--track", str(tmp_path / "a.pt"), "--clip", str(tiny_clip.root)]
    assert plot_motion.main(options) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"trajectories.png", "distributions.png"}
    assert plot_motion.main(["--out", str(tmp_path / "out")]) == 2
    assert "nothing to draw" in capsys.readouterr().err
