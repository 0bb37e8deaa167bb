"""Which pixels are looked at, the box that is modelled, and the cells that are kept."""

from __future__ import annotations

import pytest
import torch

from dfanerf_rt.clip.format import Clip
from dfanerf_rt.field.config import CONDITION_DIM, FieldConfig
from dfanerf_rt.field.field import ConditionalField
from dfanerf_rt.ops.camera import Camera
from dfanerf_rt.ops.render_field import render_field
from dfanerf_rt.train.field import _blink_weight, field_box
from dfanerf_rt.train.rays import FrameStore, SamplingConfig
from dfanerf_rt.train.tighten import telling_frames, tighten_occupancy


@pytest.fixture(scope="module")
def store(tiny_clip: Clip) -> FrameStore:
    return FrameStore(tiny_clip, range(10), SamplingConfig(mouth_share=0.5, eyes_share=0.0, anywhere_share=0.0))


def test_half_of_the_rays_meet_the_mouth(tiny_clip: Clip, store: FrameStore) -> None:
    pixels = store.sample(3, 1000, torch.Generator().manual_seed(0))
    x, y = pixels % store.width, pixels // store.width
    mouth = tiny_clip.track.landmarks_px[3, 48:68]
    size = mouth.amax(0) - mouth.amin(0)
    low, high = mouth.amin(0) - 0.3 * size - 1, mouth.amax(0) + 0.3 * size + 1
    inside = (x >= low[0]) & (x <= high[0]) & (y >= low[1]) & (y <= high[1])
    assert inside[:500].all()
    assert float(inside[500:].float().mean()) < 0.3


def test_closed_eyes_are_looked_at_more(tiny_clip: Clip) -> None:
    store, opened, closed = FrameStore(tiny_clip, range(10), SamplingConfig()), 3, 4
    assert store.closure[closed] < 0.1
    store.closure[closed] = 1.0  # no blink in so short a clip

    def share(frame: int, pixels: torch.Tensor) -> float:
        x, y = (pixels % store.width).float(), (pixels // store.width).float()
        low_x, low_y, high_x, high_y = store.boxes["eyes"][frame].floor().tolist()
        return float(((x >= low_x) & (x <= high_x) & (y >= low_y) & (y <= high_y)).float().mean())

    draws = torch.Generator().manual_seed(0)
    rays = {frame: share(frame, store.sample(frame, 4000, draws)) for frame in (opened, closed)}
    assert rays[closed] > rays[opened] + 0.15
    middles = {
        frame: sum(share(frame, store.patch(frame, draws)) > 0.2 for _ in range(300)) for frame in (opened, closed)
    }
    assert middles[closed] > middles[opened] + 30


def test_eyes_behind_dark_glasses_are_taken_for_open(tiny_clip: Clip) -> None:
    assert float(FrameStore(tiny_clip, range(10), SamplingConfig()).closure.max()) > 0.0
    assert not FrameStore(tiny_clip, range(10), SamplingConfig(), eyes_trusted=False).closure.any()


def test_targets_are_the_pictures_pixels(tiny_clip: Clip, store: FrameStore) -> None:
    pixels = torch.tensor([0, 17 * store.width + 23])
    colour, matte, background = store.targets(2, pixels)
    assert torch.equal((colour * 255).round().byte(), torch.from_numpy(tiny_clip.frame(2)[[0, 17], [0, 23]]))
    assert float(matte[0]) == 0.0
    assert background.shape == (2, 3)


def test_rays_go_through_pixel_centres(tiny_clip: Clip, store: FrameStore) -> None:
    meta = tiny_clip.meta
    camera = Camera(meta.width, meta.height, meta.focal_px, meta.cx, meta.cy)
    torch.testing.assert_close(store.directions, camera.ray_directions().reshape(-1, 3))


def test_the_box_holds_the_face(tiny_clip: Clip) -> None:
    box = field_box(tiny_clip)
    landmarks = tiny_clip.track.landmarks
    assert (landmarks > box[0]).all() and (landmarks < box[1]).all()


def test_both_ends_of_everything_are_told() -> None:
    condition, pose = torch.zeros(500, CONDITION_DIM), torch.zeros(500, 6)
    condition[101, 7], pose[303, 2] = 1.0, -1.0
    frames = telling_frames(condition, pose)
    assert {0, 101, 303, 499} <= set(frames) and len(frames) <= 300 + 2 * (CONDITION_DIM + 6)


def test_cells_that_show_nothing_go_and_the_picture_stays() -> None:
    """A field that is dense below a plane: cells well behind its surface and all empty ones go."""
    generator = torch.Generator().manual_seed(1)
    config = FieldConfig(2, 2, 10, 4, 8, n_blend=0, concat=False, occupancy_resolution=64)
    field = ConditionalField(config, torch.tensor([[-0.2, -0.2, -0.2], [0.2, 0.2, 0.2]]), generator)
    with torch.no_grad():
        # One feature of the coarse level grows with z; the network turns it into an edge at z = 0.
        level = config.grid.levels[0]
        corner = torch.arange(level.n_entries) // (level.resolution**2)
        field.table.zero_()
        field.table[: level.n_entries, 0] = (corner.float() - 0.5) / level.scale
        for weight in (field.w1, field.w2, field.w3):
            weight.zero_()
        field.w1[0, 0] = field.w2[0, 0] = 1.0
        field.w3[0, 0], field.b3[0] = 60.0, -25.0
    condition, pose = torch.zeros(1, CONDITION_DIM), torch.tensor([[0.0, 0.0, 0.0, 0.0, 0.0, 0.8]])
    camera = Camera(24, 24, 60.0, 12.0, 12.0)
    before = render_field(field.fold(condition[0], pose[0]), camera, torch.zeros(24, 24, 3))
    left = tighten_occupancy(field, condition, pose, camera.ray_directions().reshape(-1, 3), generator)
    after = render_field(field.fold(condition[0], pose[0]), camera, torch.zeros(24, 24, 3))
    assert left < 0.3
    torch.testing.assert_close(after.alpha, before.alpha, atol=0.03, rtol=0)
    assert float(before.alpha.max()) > 0.9


def test_closed_eyes_get_their_share_of_the_steps() -> None:
    closure = torch.full((500,), 0.1)
    closure[[100, 101, 300]] = torch.tensor([0.8, 1.0, 0.9])
    weight = 1.0 + _blink_weight(closure, 0.1)
    closed = closure > 0.5
    assert 0.08 < float(weight[closed].sum() / weight.sum()) < 0.11
    assert float(weight[~closed].max()) < 1.1
    none = _blink_weight(torch.full((500,), 0.05), 0.1)
    assert float(none.max()) < 0.01
