"""Inputs of every operator for bench_ops.py: the samples that training rays through the synthetic head have."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from dfanerf_rt.ops.composite_rays import composite_rays
from dfanerf_rt.ops.condition_layer import condition_layer
from dfanerf_rt.ops.hash_encode import hash_encode
from dfanerf_rt.ops.march_rays import RaySamples, march_rays, march_space, sample_positions
from dfanerf_rt.ops.mlp import mlp
from dfanerf_rt.ops.render_field import FoldedField, render_field
from dfanerf_rt.render.synthetic import head_camera, head_field

MARCHED_A_RAY = 26.0
"""Occupied samples of a ray through the synthetic head's picture, about; rays through the background have none."""
RENDERED_A_RAY = 8.0
"""Those before the ray becomes opaque, about."""
SCENE_PX = 512
N_FRAMES = 4
CONDITION_DIM = 48


@dataclass(frozen=True)
class Case:
    """One operator with inputs."""

    n_samples: int
    """Samples that the operator looks at."""
    run: Callable[[str], tuple[torch.Tensor, ...]]
    """Backend's name -> what is compared with the reference's."""
    leaves: tuple[torch.Tensor, ...] = ()
    """Inputs whose gradients are taken; none where the operator has no backward."""
    exact: bool = True
    """False: pictures, compared as such, since backends render in half precision."""


@dataclass(frozen=True)
class Scene:
    """What the cases share."""

    field: FoldedField
    directions: torch.Tensor
    jitter: torch.Tensor
    samples: RaySamples
    positions: torch.Tensor
    generator: torch.Generator

    def random(self, *shape: int) -> torch.Tensor:
        """Uniform in [0, 1), where the scene is."""
        return torch.rand(*shape, generator=self.generator).to(self.positions.device)


def make_scene(n_samples: int, device: str) -> Scene:
    """Random rays through the head, as many as give about ``n_samples`` samples."""
    generator = torch.Generator().manual_seed(0)
    field, every = head_field(), head_camera(SCENE_PX).ray_directions().reshape(-1, 3)
    n_rays = max(1, round(n_samples / MARCHED_A_RAY))
    directions = every[torch.randint(0, len(every), (n_rays,), generator=generator)].to(device)
    jitter = torch.rand(n_rays, generator=generator).to(device)
    field = to_device(field, device)
    samples = march_rays(field, directions, jitter, "reference")
    positions = sample_positions(march_space(field, directions), samples)
    return Scene(field, directions, jitter, samples, positions, generator)


def to_device(field: FoldedField, device: str) -> FoldedField:
    """The field with all its tensors on a device."""

    def moved(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(moved(item) for item in value)
        return value.to(device) if isinstance(value, torch.Tensor) else value

    return dataclasses.replace(field, **{f.name: moved(getattr(field, f.name)) for f in dataclasses.fields(field)})


def hash_encode_case(scene: Scene) -> Case:
    positions, table = (t.detach().clone().requires_grad_() for t in (scene.positions, scene.field.table))

    def run(backend: str) -> tuple[torch.Tensor, ...]:
        return (hash_encode(positions, table, scene.field.grid, backend),)

    return Case(len(positions), run, (positions, table))


def march_rays_case(scene: Scene) -> Case:
    def run(backend: str) -> tuple[torch.Tensor, ...]:
        found = march_rays(scene.field, scene.directions, scene.jitter, backend)
        # How many samples each ray has, and where they lie on the whole: a sample on a cell's edge may be missing.
        counts = (found.offsets[1:] - found.offsets[:-1]).float()
        return counts, torch.zeros_like(counts).index_add_(0, found.ray, found.t)

    return Case(len(scene.samples.t), run)


def composite_rays_case(scene: Scene) -> Case:
    n = len(scene.samples.t)
    sigma = (scene.random(n) * 200.0).requires_grad_()
    rgb = scene.random(n, 3).requires_grad_()

    def run(backend: str) -> tuple[torch.Tensor, ...]:
        return composite_rays(sigma, rgb, scene.samples, scene.field.step_m, backend)[:3]

    return Case(n, run, (sigma, rgb))


def condition_layer_case(scene: Scene) -> Case:
    n, hidden, width = len(scene.positions), len(scene.field.biases[0]), scene.field.grid.n_output
    frame = (scene.samples.ray * N_FRAMES // max(1, len(scene.directions))).int()
    leaves = tuple(
        (scene.random(*shape) - 0.5).requires_grad_()
        for shape in ((n, width), (N_FRAMES, CONDITION_DIM), (hidden, width + CONDITION_DIM), (hidden,))
    )
    features, condition, weight, bias = leaves

    def run(backend: str) -> tuple[torch.Tensor, ...]:
        return (condition_layer(features, condition, frame, weight, bias, backend),)

    return Case(n, run, leaves)


def mlp_case(scene: Scene) -> Case:
    features = (scene.random(len(scene.positions), scene.field.grid.n_output) - 0.5).requires_grad_()
    weights, biases = (
        tuple(tensor.detach().clone().requires_grad_() for tensor in layers)
        for layers in (scene.field.weights, scene.field.biases)
    )

    def run(backend: str) -> tuple[torch.Tensor, ...]:
        return (mlp(features, weights, biases, backend=backend),)

    return Case(len(features), run, (features, *weights, *biases))


def render_field_case(scene: Scene) -> Case:
    width = max(4, round((len(scene.samples.t) / RENDERED_A_RAY) ** 0.5))
    camera = head_camera(width)
    background = scene.random(width, width, 3)

    def run(backend: str) -> tuple[torch.Tensor, ...]:
        return tuple(render_field(scene.field, camera, background, backend=backend)[:2])

    return Case(round(width * width * RENDERED_A_RAY), run, exact=False)


CASES: dict[str, Callable[[Scene], Case]] = {
    "composite_rays": composite_rays_case,
    "condition_layer": condition_layer_case,
    "hash_encode": hash_encode_case,
    "march_rays": march_rays_case,
    "mlp": mlp_case,
    "render_field": render_field_case,
}
