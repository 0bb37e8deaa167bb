"""Pictures to look at beside the figures: truth and renders side by side with the error, and the worst frames."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from dfanerf_rt.clip.format import SAMPLE_RATE_HZ, Clip
from dfanerf_rt.evaluate.report import Evaluation, Progress, RenderFrame
from dfanerf_rt.files import atomic_path

ERROR_GAIN = 4
"""The error map is white where the channels differ by 255 / 4 on the mean."""
CAPTION_PX = 14
N_WORST = 10


def error_map(truth: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """Where a picture differs: (H, W, 3) uint8 grey, four times the absolute difference averaged over channels."""
    difference = np.abs(truth.astype(np.int32) - picture).mean(axis=2) * ERROR_GAIN
    return np.repeat(difference.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


def strip(clip: Clip, rows: Mapping[str, RenderFrame], index: int, note: str = "") -> np.ndarray:
    """Truth, each row's render and the error of the last row, side by side under a caption.

    Returns:
        (H + 14, W * (2 + rows), 3) uint8.
    """
    truth = clip.frame(index)
    panels = {"truth": truth, **{name: render(index) for name, render in rows.items()}}
    last = list(panels)[-1]
    panels[f"error of {last} x{ERROR_GAIN}"] = error_map(truth, panels[last])
    picture = Image.new("RGB", (truth.shape[1] * len(panels), truth.shape[0] + CAPTION_PX))
    pen = ImageDraw.Draw(picture)
    for i, (name, panel) in enumerate(panels.items()):
        picture.paste(Image.fromarray(panel), (i * truth.shape[1], CAPTION_PX))
        pen.text((i * truth.shape[1] + 2, 1), f"frame {index}{note}" if i == 0 else name, fill=(255, 255, 255))
    return np.asarray(picture)


def write_worst(path: Path, clip: Clip, rows: Mapping[str, RenderFrame], evaluation: Evaluation) -> list[int]:
    """Write the ten frames with the lowest PSNR of the last row below each other as a PNG, the worst first.

    Returns:
        Their indices in the clip.
    """
    scores = evaluation.series[list(rows)[-1]].figures["psnr_db"]
    order = [int(i) for i in np.argsort(scores, kind="stable") if evaluation.kept[i]]
    worst = [evaluation.frames[i] for i in order[:N_WORST]]
    strips = [strip(clip, rows, index, f", {scores[index - evaluation.frames.start]:.1f} dB") for index in worst]
    with atomic_path(path) as temporary:
        Image.fromarray(np.concatenate(strips)).save(temporary)
    return worst


def write_video(path: Path, clip: Clip, rows: Mapping[str, RenderFrame], progress: Progress) -> None:
    """Write the strips of all held-out frames as an MP4, with the clip's own sound where it has any."""
    from dfanerf_rt.live.mp4 import Mp4Writer

    meta = clip.meta
    sound = clip.audio()
    height, width = strip(clip, rows, meta.test_frames.start).shape[:2]
    rate_hz = 0 if sound is None else SAMPLE_RATE_HZ
    with Mp4Writer(path, width, height, fps=meta.fps, sample_rate_hz=rate_hz) as writer:
        for done, index in enumerate(meta.test_frames, start=1):
            writer.write_frame(strip(clip, rows, index))
            if sound is not None:
                start, end = (round(i / meta.fps * SAMPLE_RATE_HZ) for i in (index, index + 1))
                writer.write_audio(sound[start:end])
            progress("comparison video", done, len(meta.test_frames))
