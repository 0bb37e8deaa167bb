"""Muon: momentum whose step is turned into the nearest orthogonal matrix (Jordan et al. 2024).

Steps are scaled as Liu et al. 2025 do ("Muon is scalable for LLM training"), to the size of Adam's, so that one
learning rate serves both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

_QUINTIC = 3.4445, -4.7750, 2.0315
"""Coefficients of the Newton-Schulz iteration, from Jordan et al.: singular values end between 0.7 and 1.2."""
_ITERATIONS = 5
_STEP_RMS = 0.2


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum.

    A kernel of a convolution is a matrix of its channels out, or of its channels in where they are fewer, by all the
    rest: the cost grows with the cube of the shorter side.

    Args:
        parameters: of two dimensions or more.
        lr: as Adam's.
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:  # type: ignore[override]
        """One step by the gradients at hand; parameters without one stay."""
        loss = closure() if closure is not None else None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                state["momentum"].lerp_(parameter.grad, 1.0 - group["momentum"])
                direction = torch.lerp(parameter.grad, state["momentum"], group["momentum"])
                if direction.shape[1] < direction.shape[0]:
                    direction = direction.transpose(0, 1)
                step = orthogonalised(direction.flatten(1)).view(direction.shape)
                if step.shape != parameter.shape:
                    step = step.transpose(0, 1)
                scale = _STEP_RMS * max(len(direction), direction[0].numel()) ** 0.5
                parameter.sub_(step, alpha=group["lr"] * scale)
        return loss


def orthogonalised(matrix: Tensor) -> Tensor:
    """About U V^T of the singular value decomposition U S V^T of a matrix (M, N).

    The quintic iteration X ← a X + b (X X^T) X + c (X X^T)^2 X multiplies X by polynomials of X X^T from the left: they
    are gathered in the space of the shorter side, and applied once.
    """
    a, b, c = _QUINTIC
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mT
    wide = wide / wide.norm().clamp(min=1e-12)
    gram = wide @ wide.mT
    identity = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    product = identity
    for _ in range(_ITERATIONS):
        factor = a * identity + b * gram + c * (gram @ gram)
        product = factor @ product
        gram = factor @ gram @ factor
    result = product @ wide
    return result if matrix.shape[0] <= matrix.shape[1] else result.mT
