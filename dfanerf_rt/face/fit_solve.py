"""Linear algebra of the fit: steps in a box, all frames of a clip tied together in time, or shared unknowns first."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dfanerf_rt.errors import ClipError
from dfanerf_rt.face.fit_normal import N_POSE, NormalEquations


def time_coupling(n_frames: int, order: int) -> list[np.ndarray]:
    """Diagonals 0..order of D^T D (each (T,), entry t couples frames t and t + offset) for ``order``-th differences."""
    stencil = np.array([-1.0, 1.0]) if order == 1 else np.array([1.0, -2.0, 1.0])
    diagonals = [np.zeros(n_frames) for _ in range(order + 1)]
    for start in range(n_frames - order):
        for i in range(order + 1):
            for j in range(i, order + 1):
                diagonals[j - i][start + i] += stencil[i] * stencil[j]
    return diagonals


def smoothness(values: Tensor, weight: Tensor, order: int) -> tuple[Tensor, Tensor]:
    """Cost 0.5 sum w (D x)^2 and its gradient, of ``values`` (T, n) with ``weight`` (n,); float64."""
    if len(values) <= order:
        return torch.zeros((), dtype=torch.float64), torch.zeros_like(values)
    difference = values[1:] - values[:-1] if order == 1 else values[2:] - 2 * values[1:-1] + values[:-2]
    gradient = torch.zeros_like(values)
    scaled = weight * difference
    if order == 1:
        gradient[1:] += scaled
        gradient[:-1] -= scaled
    else:
        gradient[2:] += scaled
        gradient[1:-1] -= 2 * scaled
        gradient[:-2] += scaled
    return 0.5 * (scaled * difference).sum(), gradient


def solve_in_time(
    hessian: Tensor, gradient: Tensor, free: Tensor, pose_weight: Tensor, expression_weight: Tensor
) -> Tensor:
    """The Newton step (T, n) of all frames together: a banded Cholesky solve.

    Args:
        hessian: (T, n, n) float64, each frame's own block, n = 6 + 52.
        gradient: (T, n), of the whole cost, the terms in time included.
        free: (T, n) bool; others stay where they are.
        pose_weight: (6,) weight of squared second differences.
        expression_weight: (n - 6,) weight of squared first differences.
    """
    from scipy.linalg import LinAlgError, solveh_banded
    from threadpoolctl import threadpool_limits

    n_frames, n = gradient.shape
    block = hessian.numpy()
    mask = free.numpy().astype(np.float64)
    upper = 2 * n
    band = np.zeros((upper + 1, n_frames, n))
    for offset in range(n):
        rows = np.arange(n - offset)
        band[upper - offset, :, offset:] = block[:, rows, rows + offset] * mask[:, : n - offset] * mask[:, offset:]
    for order, weight, part in (
        (2, pose_weight.numpy(), slice(0, N_POSE)),
        (1, expression_weight.numpy(), slice(N_POSE, n)),
    ):
        if n_frames <= order:
            continue
        for offset, diagonal in enumerate(time_coupling(n_frames, order)):
            ahead = n_frames - offset
            both = mask[:ahead, part] * mask[offset:, part]
            band[upper - offset * n, offset:, part] += diagonal[:ahead, None] * weight * both
    band[upper] += 1.0 - mask
    right = -(gradient.numpy() * mask)
    try:
        # the blocks are small: threads would spend eight times longer waiting for each other
        with threadpool_limits(1):
            step = solveh_banded(band.reshape(upper + 1, -1), right.reshape(-1), overwrite_ab=True, check_finite=False)
    except LinAlgError as fault:
        raise ClipError("the face could not be fitted: the landmarks found do not determine a head") from fault
    return torch.from_numpy(step.reshape(n_frames, n))


def solve_shared(system: NormalEquations, free: Tensor) -> tuple[Tensor, Tensor]:
    """Steps of frames (T, n) that are independent of each other, and of the shared unknowns (G,): Schur complement."""
    assert system.coupling is not None and system.shared is not None and system.shared_gradient is not None  # by caller
    mask = free.double()
    hessian = system.frame * mask[:, :, None] * mask[:, None, :] + torch.diag_embed(1.0 - mask)
    coupling = system.coupling * mask[..., None]
    gradient = system.frame_gradient * mask
    factor = torch.linalg.cholesky(hessian)
    by_coupling = torch.cholesky_solve(coupling, factor)
    by_gradient = torch.cholesky_solve(gradient[..., None], factor)[..., 0]
    schur = system.shared - torch.einsum("tng,tnh->gh", coupling, by_coupling)
    right = system.shared_gradient - torch.einsum("tng,tn->g", coupling, by_gradient)
    shared_step = -torch.linalg.solve(schur, right)
    frame_step = -by_gradient - torch.einsum("tng,g->tn", by_coupling, shared_step)
    return frame_step, shared_step


def free_in_box(expression: Tensor, gradient: Tensor) -> Tensor:
    """(T, 6 + 52) bool: False for expressions at 0 or 1 whose cost falls only outwards (active set)."""
    by_expression = gradient[:, N_POSE:]
    held = ((expression <= 0) & (by_expression > 0)) | ((expression >= 1) & (by_expression < 0))
    return torch.cat([torch.ones(len(expression), N_POSE, dtype=torch.bool), ~held], dim=1)
