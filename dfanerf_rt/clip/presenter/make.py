"""A clip of a synthetic person, made from the CC0 head model and synthesised speech.

Everything about it is known: identity, expression, pose, matte and phonemes. It is the data of tests where no video
of a real person is, and the bundled avatar is trained on it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from dfanerf_rt.clip.format import Clip, ClipMeta, ClipWriter, Track
from dfanerf_rt.clip.presenter.performance import LINES, Performance, PerformanceConfig, perform
from dfanerf_rt.errors import ClipError
from dfanerf_rt.face.arkit import ARKIT_INDEX
from dfanerf_rt.face.model import FaceModel
from dfanerf_rt.face.rotation import points_to_camera

if TYPE_CHECKING:
    from dfanerf_rt.clip.presenter.people import Person
    from dfanerf_rt.clip.presenter.render import PresenterRenderer

Progress = Callable[[float, str], None]
"""Called with the share done in [0, 1] and a word on what is being done."""

HELD_OUT = 11
"""One frame in so many, at the end of the clip, is held out of training."""


@dataclass(frozen=True)
class PresenterConfig:
    """Who speaks what, and how it is filmed."""

    seed: int = 1
    """Of the motion; the sound is not drawn by chance."""
    person: str = "presenter"
    """A name in :data:`~dfanerf_rt.clip.presenter.people.PEOPLE`."""
    size: int = 256
    """Width and height of the picture, pixels."""
    duration_s: float = 60.0
    lines: tuple[tuple[str, str], ...] = LINES
    """(espeak-ng voice, sentence)."""
    fps: float = 25.0
    focal: float = 1.95
    """Focal length as a multiple of the picture's width: a head fills a little more than half of it."""
    position: tuple[float, float, float] = (0.0, -0.015, 0.8)
    """Where the head rests, camera coordinates, metres."""
    samples: int = 3
    """Samples a side of a pixel."""
    n_threads: int = 2


def generate_presenter(out: Path, config: PresenterConfig | None = None, progress: Progress | None = None) -> Clip:
    """Make the clip and write it to the folder ``out``.

    Args:
        out: a folder that does not exist yet, or is empty.
        progress: told after each frame.

    Returns:
        The clip; its track is the truth, and ``meta.extra["phonemes"]`` lists (name, start sample, end sample).

    Raises:
        ClipError: ``out`` holds something already, or the configuration gives no clip.
        AudioError: espeak-ng is not installed.
    """
    # numba is imported here, because the package must import without it where nothing is drawn.
    from dfanerf_rt.clip.presenter.people import PEOPLE

    config = config or PresenterConfig()
    if config.person not in PEOPLE:
        raise ClipError(f"there is no presenter {config.person!r}; expected one of {', '.join(PEOPLE)}")
    if config.size < 16 or config.duration_s < 1 or config.samples < 1:
        raise ClipError(
            f"a presenter of size {config.size} px, {config.duration_s} s and {config.samples} samples a pixel; "
            "expected at least 16 px, 1 s and 1 sample"
        )
    with ClipWriter(Path(out)) as writer:
        if progress:
            progress(0.0, "speech and motion")
        motion = PerformanceConfig(
            seed=config.seed,
            fps=config.fps,
            duration_s=config.duration_s,
            lines=config.lines,
        )
        performance = perform(motion, config.position)
        model = FaceModel.bundled()
        person = PEOPLE[config.person]
        identity = person.identity(model)
        writer.write_background(_draw(writer, person, performance, config, progress))
        writer.write_audio(performance.samples)
        return writer.finish(_meta(performance, config), _track(model, identity, performance, config))


def _draw(
    writer: ClipWriter,
    person: Person,
    performance: Performance,
    config: PresenterConfig,
    progress: Progress | None,
) -> np.ndarray:
    """Render all frames, a few at a time; returns the background (H, W, 3) uint8."""
    from dfanerf_rt.clip.presenter.render import PresenterRenderer, View, studio, to_bytes
    from dfanerf_rt.clip.presenter.scene import scene_of

    scene = scene_of(config.person)
    view = View(config.size, config.focal * config.size, config.samples)
    local = threading.local()
    expression, head_pose, torso_pose = (
        torch.from_numpy(values) for values in (performance.expression, performance.head_pose, performance.torso_pose)
    )

    def draw(index: int) -> None:
        renderer: PresenterRenderer | None = getattr(local, "renderer", None)
        if renderer is None:
            renderer = local.renderer = PresenterRenderer(scene, view, person.look)
        frame, alpha = renderer.render(expression[index], head_pose[index], torso_pose[index])
        writer.write_frame(index, frame, alpha)

    n_frames = len(expression)
    with ThreadPoolExecutor(max(config.n_threads, 1)) as pool:
        pending = [pool.submit(draw, index) for index in range(n_frames)]
        try:
            for done, future in enumerate(as_completed(pending), 1):
                future.result()
                if progress:
                    progress(done / n_frames, "drawing")
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return to_bytes(studio(view.size))


def _meta(performance: Performance, config: PresenterConfig) -> ClipMeta:
    n_frames = len(performance.expression)
    return ClipMeta(
        n_frames=n_frames,
        width=config.size,
        height=config.size,
        focal_px=config.focal * config.size,
        cx=config.size / 2,
        cy=config.size / 2,
        fps=config.fps,
        n_test_frames=n_frames // HELD_OUT,
        source="synthetic presenter",
        consent="synthetic person",
        licence="CC0-1.0",
        extra={
            "seed": config.seed,
            "person": config.person,
            "voices": sorted({voice for voice, _ in config.lines}),
            "phonemes": [[p.name, p.start_sample, p.end_sample] for p in performance.phonemes],
        },
    )


def _track(model: FaceModel, identity: torch.Tensor, performance: Performance, config: PresenterConfig) -> Track:
    expression = torch.from_numpy(performance.expression)
    landmarks = model.landmarks(identity, expression)
    # What is seen on the neck and the jaw's ends follows the torso in part, as the drawn vertices do.
    share = (model.neck_weight[model.landmark_triangles] * model.landmark_barycentric).sum(-1)[None, :, None]
    head, torso = (
        points_to_camera(torch.from_numpy(pose), landmarks) for pose in (performance.head_pose, performance.torso_pose)
    )
    seen = share * head + (1 - share) * torso
    n_frames = len(expression)
    return Track(
        identity=identity,
        expression=expression,
        head_pose=torch.from_numpy(performance.head_pose),
        landmarks=landmarks,
        landmarks_px=seen[..., :2] / seen[..., 2:] * (config.focal * config.size) + config.size / 2,
        eye_closure=expression[:, [ARKIT_INDEX["eyeBlinkLeft"], ARKIT_INDEX["eyeBlinkRight"]]],
        confidence=torch.ones(n_frames),
    )


def tiny_config(duration_s: float = 3.0, size: int = 96) -> PresenterConfig:
    """A small clip for tests: one short lively sentence."""
    return replace(
        PresenterConfig(),
        size=size,
        duration_s=duration_s,
        lines=(("en-us", "Maybe Papa moved the blue boat. Why not?"), ("en", "You told me about five boys.")),
        samples=2,
    )
