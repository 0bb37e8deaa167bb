"""How near a backend's pictures come to the reference's, and to the truth of a clip."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dfanerf_rt.avatar import Avatar
from dfanerf_rt.render.session import RenderSession

MIN_PSNR_DB = 40.0
"""Of bytes against the reference's bytes; a backend below it is not timed."""
MAX_MEAN_ERROR_255 = 1.0
"""Mean absolute difference of bytes from the reference's."""
MAX_TRUTH_DIFFERENCE_DB = 0.5
"""Between the PSNRs of backend and reference against the truth."""


def psnr_db(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Between pictures in bytes; 99 where they are the same."""
    mean = float((found.float() - expected.float()).square().mean()) / 255.0**2
    return 99.0 if mean == 0.0 else min(99.0, -10.0 * math.log10(mean))


def mean_error_255(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Mean absolute difference of pictures in bytes."""
    return float((found.float() - expected.float()).abs().mean())


def compare_pictures(
    avatar: Avatar, width: int, backend: str, device: str, inputs: list[tuple[torch.Tensor, torch.Tensor]]
) -> dict[str, Any]:
    """A row of quality: the worst of several frames against the reference."""
    sessions = [RenderSession(avatar, device, width, name) for name in (backend, "reference")]
    psnrs, errors = [], []
    for condition, head_pose in inputs:
        pictures = []
        for session in sessions:
            session.fold(condition, head_pose)
            pictures.append(session.render().cpu())
        psnrs.append(psnr_db(*pictures))
        errors.append(mean_error_255(*pictures))
    return {
        "backend": backend,
        "device": device,
        "width": sessions[0].width,
        "height": sessions[0].height,
        "frames": len(inputs),
        "psnr_to_reference_db": min(psnrs),
        "mean_error_255": max(errors),
        "truth_psnr_db": None,
        "reference_truth_psnr_db": None,
    }


def clip_scores(avatar: Avatar, folder: Path, backends: list[str], device: str, n_frames: int) -> list[dict[str, Any]]:
    """Rows of quality on held-out frames of a clip, mouth and pose as tracked; PSNRs are means over the frames."""
    from dfanerf_rt.clip.format import Clip
    from dfanerf_rt.evaluate.drive import drive_rows
    from dfanerf_rt.evaluate.image_quality import psnr

    clip = Clip(folder)
    held_out = clip.meta.test_frames
    if not len(held_out):
        raise ValueError(f"{folder}: no frames are held out of training, so there is no truth to compare with")
    chosen = [held_out[int(i)] for i in np.linspace(0, len(held_out) - 1, min(n_frames, len(held_out)))]
    truth = [clip.frame(index) for index in chosen]

    def pictures(backend: str) -> list[np.ndarray]:
        render = drive_rows(avatar, clip, device, backend)[0]["recorded"]
        return [render(index) for index in chosen]

    expected = pictures("reference")
    reference_score = float(np.mean([psnr(*pair) for pair in zip(truth, expected, strict=True)]))
    rows = []
    for backend in backends:
        found = pictures(backend)
        pairs = [(torch.from_numpy(a), torch.from_numpy(b)) for a, b in zip(found, expected, strict=True)]
        rows.append(
            {
                "backend": backend,
                "device": device,
                "width": clip.meta.width,
                "height": clip.meta.height,
                "frames": len(chosen),
                "psnr_to_reference_db": min(psnr_db(*pair) for pair in pairs),
                "mean_error_255": max(mean_error_255(*pair) for pair in pairs),
                "truth_psnr_db": float(np.mean([psnr(*pair) for pair in zip(truth, found, strict=True)])),
                "reference_truth_psnr_db": reference_score,
            }
        )
    return rows


def faults(row: dict[str, Any]) -> list[str]:
    """What is worse in a row of quality than allowed; printed beside the row."""
    where = f"{row['backend']} {row['width']}x{row['height']}, {row['frames']} frames"
    line = f"{where}: {row['psnr_to_reference_db']:.1f} dB, mean error {row['mean_error_255']:.3f}/255 at the worst"
    found = []
    if row["mean_error_255"] > MAX_MEAN_ERROR_255:
        found.append(f"{where}: mean error {row['mean_error_255']:.2f}/255, allowed {MAX_MEAN_ERROR_255}")
    if row["truth_psnr_db"] is not None:
        ours, theirs = row["truth_psnr_db"], row["reference_truth_psnr_db"]
        line += f"; against the truth {ours:.2f} dB, the reference {theirs:.2f} dB"
        if abs(ours - theirs) >= MAX_TRUTH_DIFFERENCE_DB:
            found.append(f"{where}: {ours:.2f} dB against the truth, the reference {theirs:.2f} dB")
    print(line)
    return found
