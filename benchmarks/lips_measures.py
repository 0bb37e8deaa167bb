"""What the measures of lips share: mouth codes as millimetres, scores and their means, rows and tables of results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dfanerf_rt.attributes.model import AttributeModel, mouth_opening
from dfanerf_rt.sync.model import AudioEncoder, encode_audio

Predict = Callable[[NDArray[np.float32], int], Tensor]
"""Sound (N,) at 16 kHz and a number of frames → codes (n_frames, code_dim)."""
Scores = dict[str, tuple[float, int]]
"""Measure → (value, how many frames, events or windows it is of)."""
CORNERS = 0, 6
"""Of the mouth, among its 20 landmarks."""
HEADINGS = {
    "opening_corr": "opening corr.",
    "width_corr": "width corr.",
    "closures": "closed at m b p",
    "closures_pooled": "closed, pooled",
    "closures_truth": "of the truth",
    "roundings": "narrow at u o",
    "roundings_truth": "of the truth",
}


def encoded(encoder: AudioEncoder, lookahead_ms: float) -> Predict:
    """The encoder's own codes at a look-ahead."""
    shorter = encoder.with_lookahead(lookahead_ms)
    return lambda samples, n_frames: encode_audio(shorter, samples, n_frames)


@torch.no_grad()
def opening_and_width(codes: Tensor, attributes: AttributeModel) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Opening and width (T,) of the mouth in millimetres, decoded from codes (T, mouth_dim)."""
    mouth, _ = attributes.decode(codes, codes.new_zeros(len(codes), attributes.config.eye_dim))
    left, right = CORNERS
    width = (mouth[:, left] - mouth[:, right]).norm(dim=-1)
    return mouth_opening(mouth).numpy() * 1e3, width.numpy() * 1e3


def mean_scores(scores: Sequence[Scores]) -> Scores:
    """Every measure's mean, each of ``scores`` counting the same; counts are added."""
    names = dict.fromkeys(name for each in scores for name in each)
    found = {name: [each[name] for each in scores if name in each] for name in names}
    return {
        name: (float(np.mean([value for value, _ in values])), sum(count for _, count in values))
        for name, values in found.items()
    }


def pooled(scores: Sequence[Scores], name: str) -> tuple[float, int]:
    """A share over all events or windows together."""
    values = [each[name] for each in scores if name in each]
    n = sum(count for _, count in values)
    return sum(value * count for value, count in values) / n, n


def rows(part: str, model: str, subject: str, lookahead_ms: float, scores: Scores, **more: Any) -> list[dict[str, Any]]:
    """Scores as rows of results of the kind "lips"; ``more`` stands beside the keys of the schema."""
    same = {"part": part, "model": model, "subject": subject, "lookahead_ms": float(lookahead_ms)}
    return [
        {**same, "measure": name, "value": value, "count": count, **more} for name, (value, count) in scores.items()
    ]


def table(headings: Sequence[str], lines: Iterable[Sequence[str | float | int | None]]) -> str:
    """A table in markdown, numbers to the right; three digits after the point, a dash for what is not there."""
    cells = [[_cell(value) for value in line] for line in lines]
    widths = [max(len(row[k]) for row in [list(headings), *cells]) for k in range(len(headings))]

    def joined(row: Sequence[str]) -> str:
        sides = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        return f"| {' | '.join(sides)} |"

    rule = [("-" * widths[0]), *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([joined(headings), joined(rule), *(joined(row) for row in cells)])


def _cell(value: str | float | int | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
