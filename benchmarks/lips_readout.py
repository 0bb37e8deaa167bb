"""Ridge regression from features of sound to mouth codes: one way to read lips out of any features."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from lips_measures import Predict
from numpy.typing import NDArray
from torch import Tensor

from dfanerf_rt.sync.model import FEATURES_PER_FRAME, AudioEncoder, window_features
from dfanerf_rt.train.sync_corpus import Pair

Features = Callable[[NDArray[np.float32], int], Tensor]
"""Sound (N,) at 16 kHz and a number of frames → features (n_frames, D)."""
STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Of the penalty, as a share of each feature's variance."""
JUDGE_EVERY = 5
"""One pair in so many chooses the strength and is not fitted."""


@dataclass
class _Sums:
    """What a regression needs to know of its examples; a constant feature is added."""

    xx: Tensor
    xy: Tensor
    yy: float = 0.0
    n: int = 0

    @classmethod
    def of_size(cls, n_features: int, n_outputs: int) -> _Sums:
        zeros = torch.zeros(n_features + 1, n_features + 1 + n_outputs, dtype=torch.float64)
        return cls(zeros[:, : n_features + 1].clone(), zeros[:, n_features + 1 :].clone())

    def add(self, features: Tensor, codes: Tensor) -> None:
        x = torch.cat([features, features.new_ones(len(features), 1)], dim=1).double()
        y = codes.double()
        self.xx += x.T @ x
        self.xy += x.T @ y
        self.yy += float(y.square().sum())
        self.n += len(x)

    def solve(self, strength: float) -> Tensor:
        """(D + 1, outputs); the constant is not penalised."""
        mean = self.xx[-1] / self.n
        variance = self.xx.diagonal() - self.n * mean**2
        variance[-1] = 0.0
        # A feature that never varies would leave the system without a solution.
        floor = 1e-9 * self.n * (torch.arange(len(variance)) < len(variance) - 1)
        return torch.linalg.solve(self.xx + torch.diag(strength * variance + floor), self.xy)

    def error(self, weights: Tensor) -> float:
        """Sum of squared errors on these examples."""
        return self.yy - 2 * float((weights * self.xy).sum()) + float((weights * (self.xx @ weights)).sum())


def read_out(features: Features, pairs: Iterable[Pair]) -> Predict:
    """Mouth codes from features, fitted on pairs of sound and mouth codes.

    Args:
        features: of any sound.
        pairs: at least 5; every fifth one chooses the strength of the penalty.
    """
    fit: _Sums | None = None
    judge: _Sums | None = None
    for index, (samples, codes) in enumerate(pairs):
        x = features(samples, len(codes))
        if fit is None or judge is None:
            fit, judge = (_Sums.of_size(x.shape[1], codes.shape[1]) for _ in range(2))
        (judge if index % JUDGE_EVERY == JUDGE_EVERY - 1 else fit).add(x, codes)
    if fit is None or judge is None or judge.n == 0:
        raise ValueError(f"too few pairs for a readout, expected {JUDGE_EVERY} or more")
    weights = min((fit.solve(strength) for strength in STRENGTHS), key=judge.error).float()

    def predict(samples: NDArray[np.float32], n_frames: int) -> Tensor:
        return features(samples, n_frames) @ weights[:-1] + weights[-1]

    return predict


def mfcc_windows(encoder: AudioEncoder, lookahead_ms: float) -> Features:
    """What the encoder sees, before any of its weights: the normalised MFCC under each frame's window."""
    shorter = encoder.with_lookahead(lookahead_ms)
    config = shorter.config

    def features(samples: NDArray[np.float32], n_frames: int) -> Tensor:
        x = shorter.normalise(torch.from_numpy(window_features(samples, n_frames, config)))
        return x.unfold(0, config.n_window, FEATURES_PER_FRAME)[:n_frames].flatten(1)

    return features
