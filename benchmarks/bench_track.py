"""How true the tracked motion of a head is: a clip that was rendered from known poses, tracked as a video would be.

    .venv/bin/python benchmarks/bench_track.py --clips CLIP... [--frames N] [--threads N] [--json OUT]

Each clip's pictures are tracked twice, by landmarks alone and with the photometric stage, and compared with the track
that they were rendered from. Errors that do not change over the clip are taken out: they are another camera or another
face, and the field is trained with them as well. Only a clip whose track is the truth says anything here, such as those
of ``tools/draw_presenters.py``. Results are rows of the kind "track".
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lips_measures import table
from result_schema import machine, write_results

from dfanerf_rt.clip.format import Clip
from dfanerf_rt.errors import DfanerfError
from dfanerf_rt.evaluate.lips import MOUTH
from dfanerf_rt.face.fit import REFERENCE_WIDTH_PX, FitConfig, FitResult, View, fit_track
from dfanerf_rt.face.landmarks import LandmarkTracker
from dfanerf_rt.face.model import FaceModel
from dfanerf_rt.face.rotation import points_to_camera

STAGES = {"landmarks": FitConfig(photometric=None), "landmarks and pictures": FitConfig()}
RIGID = slice(17, 48)
"""Landmarks on brows, nose and eyes: those of the face at rest say where its head is drawn."""


def seen_landmarks(clip: Clip, n_frames: int) -> np.ndarray:
    """(T, 478, 3) what the detector finds in the pictures, NaN where nothing."""
    found = np.full((n_frames, 478, 3), np.nan, np.float32)
    with LandmarkTracker() as tracker:
        for frame in range(n_frames):
            faces = tracker.detect(clip.frame(frame))
            if len(faces):
                found[frame] = faces[0]
    return found


def drawn(identity: torch.Tensor, head_pose: torch.Tensor, focal_px: float) -> torch.Tensor:
    """(T, 31, 2) where the face at rest is drawn, pixels from the principal point."""
    model = FaceModel.bundled()
    points = model.landmarks(identity, torch.zeros(model.n_expressions))[RIGID].float()
    camera = points_to_camera(head_pose, points.expand(len(head_pose), -1, -1))
    return focal_px * camera[..., :2] / camera[..., 2:]


def wander(values: torch.Tensor) -> float:
    """Root mean square length of vectors (T, ..., n) about their mean over time."""
    return float((values - values.mean(0)).square().sum(-1).mean().sqrt())


def by_pose(error: torch.Tensor, true_pose: torch.Tensor) -> torch.Tensor:
    """What of an error (T, 31, 2) is linear in the pose (T, 6): such a map is the field's ``head_follow``."""
    centred = (true_pose - true_pose.mean(0)) / true_pose.std(0).clamp(min=1e-6)
    known = torch.cat([centred, torch.ones(len(centred), 1)], dim=1).double()
    flat = error.flatten(1).double()
    return (known @ torch.linalg.lstsq(known, flat).solution).view_as(error)


def errors(clip: Clip, fitted: FitResult) -> dict[str, float]:
    """By measure: pixels at a width of 512, degrees, millimetres."""
    found, n_frames = fitted.track, len(fitted.track.head_pose)
    true_pose, unit = clip.track.head_pose[:n_frames], REFERENCE_WIDTH_PX / clip.meta.width
    true_place = drawn(clip.track.identity, true_pose, clip.meta.focal_px)
    place = drawn(found.identity, found.head_pose, fitted.focal_px)
    away = found.head_pose - true_pose
    error = place - true_place
    return {
        "motion_error_px": unit * wander(error),
        "unpredictable_px": unit * wander(error - by_pose(error, true_pose)),
        "rotation_error_deg": float(np.degrees(wander(away[:, :3]))),
        "translation_error_mm": 1e3 * wander(away[:, 3:]),
        "mouth_error_mm": 1e3 * wander(found.landmarks[:, MOUTH] - clip.track.landmarks[:n_frames, MOUTH]),
        "reprojection_px": fitted.median_error_px,
    }


def measure(path: Path, n_frames: int | None) -> list[dict[str, Any]]:
    """Rows of one clip."""
    clip = Clip(path)
    meta, count = clip.meta, min(clip.meta.n_frames, n_frames or clip.meta.n_frames)
    landmarks, view = seen_landmarks(clip, count), View(meta.cx, meta.cy, float(meta.width))
    rows = []
    for stage, config in STAGES.items():
        started = time.monotonic()
        fitted = fit_track(
            FaceModel.bundled(), landmarks, view, config=config, pictures=lambda: map(clip.frame, range(count))
        )
        found = errors(clip, fitted) | {"fit_ms_per_frame": 1e3 * (time.monotonic() - started) / count}
        rows += [
            {"clip": path.name, "stage": stage, "frames": count, "measure": name, "value": value}
            for name, value in found.items()
        ]
    return rows


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, nargs="+", required=True, help="clips whose track is the truth")
    parser.add_argument("--frames", type=int, help="how many of each, from the first; all by default")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the results here")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    try:
        rows = [row for path in arguments.clips for row in measure(path, arguments.frames)]
    except DfanerfError as fault:
        print(f"bench_track: {fault}", file=sys.stderr)
        return 2
    measures = list(dict.fromkeys(row["measure"] for row in rows))
    by_run: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        by_run.setdefault((row["clip"], row["stage"]), []).append(row["value"])
    print(table(["clip", "tracked by", *measures], [[*run, *values] for run, values in by_run.items()]))
    if arguments.json:
        write_results(arguments.json, {"kind": "track", "machine": machine(), "results": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
