"""The same clip in smaller pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from dfanerf_rt.clip.format import Clip, ClipWriter
from dfanerf_rt.errors import ClipError


def scale_clip(clip: Clip, out: Path, width: int) -> Clip:
    """Write a copy whose pictures are ``width`` pixels wide, each pixel the mean of those that it covers.

    Args:
        clip: as wide or wider.
        out: a folder that does not exist yet, or is empty.
        width: at least 16 pixels; the height follows.

    Raises:
        ClipError: the clip is narrower, the width too small, or ``out`` holds something already.
    """
    meta = clip.meta
    if not 16 <= width <= meta.width:
        raise ClipError(f"{clip.root}: cannot be scaled from {meta.width} to {width} px; expected 16 to {meta.width}")
    share = width / meta.width
    size = (width, round(meta.height * share))

    def small(picture: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))

    with ClipWriter(Path(out)) as writer:
        for index in range(meta.n_frames):
            writer.write_frame(index, small(clip.frame(index)), small(clip.alpha(index)))
        writer.write_background(small(clip.background()))
        samples = clip.audio()
        if samples is not None:
            writer.write_audio(samples)
        return writer.finish(
            replace(
                meta,
                width=size[0],
                height=size[1],
                focal_px=meta.focal_px * share,
                cx=meta.cx * share,
                cy=meta.cy * share,
            ),
            replace(clip.track, landmarks_px=clip.track.landmarks_px * share),
        )
