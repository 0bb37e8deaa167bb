"""Gaussians over time: paths of a Gaussian process, what they are given their past, and a posterior that is a chain.

Time is the last extent everywhere, latent dimensions and batches stand before it. Noise comes in as a tensor, so that
a path is a function of its arguments.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dfanerf_rt.errors import ShapeError
from dfanerf_rt.motion.kernel import CauchyKernel, cholesky, covariance


@dataclass(frozen=True)
class Gaussian:
    """A Gaussian over T frames with full covariance."""

    mean: Tensor
    """(..., T)."""
    factor: Tensor
    """(..., T, T) lower triangular with a positive diagonal; the covariance is ``factor @ factor.mT``."""
    inverse_factor: Tensor | None = None
    """The inverse of ``factor`` where it is at hand, as the prior's is: products are faster than solutions."""

    def whiten(self, columns: Tensor) -> Tensor:
        """The factor's inverse times (..., T, C)."""
        if self.inverse_factor is None:
            return torch.linalg.solve_triangular(self.factor, columns, upper=False)
        return torch.einsum("...ij,...jk->...ik", self.inverse_factor, columns)

    def sample(self, noise: Tensor) -> Tensor:
        """A path (..., T) for standard normal noise (..., T)."""
        return self.mean + (self.factor @ noise[..., None])[..., 0]

    def spread_under(self, p: Gaussian) -> Tensor:
        """tr(S_p^-1 S) of the two covariances (...): how much wider this one is, summed over all directions."""
        return p.whiten(self.factor).square().sum((-2, -1))

    def log_det(self) -> Tensor:
        """Logarithm of the covariance's determinant (...)."""
        return 2 * self.factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def prior(kernels: tuple[CauchyKernel, ...], n_frames: int, dtype: torch.dtype = torch.float32) -> Gaussian:
    """The Gaussian process over ``n_frames`` consecutive frames: mean 0, one row for each kernel."""
    factor, inverse = cholesky(kernels, n_frames, dtype)
    return Gaussian(factor.new_zeros(factor.shape[:2]), factor, inverse)


@dataclass(frozen=True)
class Conditional:
    """A Gaussian process at some frames given its values at others, exactly; made once, used for any values.

    With covariances K between observed frames o and asked frames a, the mean is K_ao K_oo^-1 z_o and the covariance
    K_aa - K_ao K_oo^-1 K_oa.
    """

    weights: Tensor
    """(L, A, O): K_ao K_oo^-1."""
    factor: Tensor
    """(L, A, A): Cholesky factor of the covariance."""

    @classmethod
    def of(
        cls,
        kernels: tuple[CauchyKernel, ...],
        observed: Tensor,
        asked: Tensor,
        dtype: torch.dtype = torch.float32,
    ) -> Conditional:
        """Args:
            kernels: one for each latent dimension.
            observed: (O,) frames at which the path is known; O may be 0.
            asked: (A,) frames, none of them observed.
            dtype: of the result; float64 is used meanwhile.

        Raises:
            ValueError: a frame that is asked for is observed, or a frame stands twice.
        """
        times = torch.cat([observed, asked]).double()
        if len(times.unique()) != len(times):
            raise ValueError("frames observed and asked for must all differ")
        n = len(observed)
        # The factor of both together, [[F_oo, 0], [F_ao, F_aa]], holds all that is asked for.
        factor = torch.linalg.cholesky(covariance(kernels, times, times))
        known, cross = factor[:, :n, :n], factor[:, n:, :n]
        weights = torch.linalg.solve_triangular(known, cross, upper=False, left=False)
        return cls(weights.to(dtype), factor[:, n:, n:].to(dtype))

    def given(self, values: Tensor) -> Gaussian:
        """The Gaussian over the frames asked for, given values (..., L, O) of those observed."""
        return Gaussian((self.weights @ values[..., None])[..., 0], self.factor)


@dataclass(frozen=True)
class Posterior:
    """A Gaussian p(z) after a noisy look at every frame: q(z) ~ p(z) prod_t N(value_t | z_t, 1 / precision_t).

    With p = N(m, F F^T) a path is m + F w with w standard normal, and given the looks w has the precision
    B = 1 + F^T diag(precision) F. B is never near singular, however smooth p is. Where no frame says anything, q is p
    and the divergence is 0; a path of q is as smooth as one of p. A chain (:class:`ChainGaussian`) is neither: it
    pays for every dimension that it does not use. Source: Pearce 2020; Ashman et al. 2020.
    """

    prior: Gaussian
    whitened_mean: Tensor
    """(..., T): mean of w."""
    whitened_factor: Tensor
    """(..., T, T): lower Cholesky factor of B, the precision of w."""

    @classmethod
    def given(cls, prior: Gaussian, value: Tensor, precision: Tensor) -> Posterior:
        """Args:
        prior: p, its mean (T,) or (..., T).
        value: (..., T) what is seen of each frame.
        precision: (..., T) how well it is seen, 0 or more: one over the variance of the noise.
        """
        factor, n_frames = prior.factor, value.shape[-1]
        seen = precision.sqrt()[..., None] * factor
        identity = torch.eye(n_frames, dtype=value.dtype, device=value.device)
        whitened_factor = torch.linalg.cholesky(identity + seen.mT @ seen)
        pull = factor.mT @ (precision * (value - prior.mean))[..., None]
        return cls(prior, torch.cholesky_solve(pull, whitened_factor)[..., 0], whitened_factor)

    @property
    def mean(self) -> Tensor:
        """(..., T)."""
        return self.prior.sample(self.whitened_mean)

    def sample(self, noise: Tensor) -> Tensor:
        """A path (..., T) for standard normal noise (..., T)."""
        deviation = torch.linalg.solve_triangular(self.whitened_factor.mT, noise[..., None], upper=True)
        return self.prior.sample(self.whitened_mean + deviation[..., 0])

    def divergence(self) -> Tensor:
        """KL(q || p) in nats (...), see :func:`kl_divergence`; that of w from a standard normal."""
        n_frames = self.whitened_mean.shape[-1]
        identity = torch.eye(n_frames, dtype=self.whitened_mean.dtype, device=self.whitened_mean.device)
        inverse = torch.linalg.solve_triangular(
            self.whitened_factor, identity.expand_as(self.whitened_factor), upper=False
        )
        spread = inverse.square().sum((-2, -1)) + self.whitened_mean.square().sum(-1) - n_frames
        return 0.5 * spread + self.whitened_factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)


@dataclass(frozen=True)
class ChainGaussian:
    """A Gaussian over T frames whose precision is B^T B with B bidiagonal (Fortuin et al. 2020): a Markov chain.

    The deviation from the mean is u_t = carry_t u_(t-1) + scale_t e_t with standard normal e, so that B has 1 / scale_t
    on its diagonal and -carry_t / scale_t beside it. Every pair of frames correlates, yet T values of carry and of
    scale are all there is, and a sample and the determinant cost O(T).
    """

    mean: Tensor
    """(..., T)."""
    carry: Tensor
    """(..., T); what is carried into the first frame has no meaning."""
    scale: Tensor
    """(..., T), above 0."""

    def __post_init__(self) -> None:
        if not self.mean.shape == self.carry.shape == self.scale.shape:
            found = f"{tuple(self.mean.shape)}, {tuple(self.carry.shape)} and {tuple(self.scale.shape)}"
            raise ShapeError(f"mean, carry and scale have shapes {found}, expected the same")

    def sample(self, noise: Tensor) -> Tensor:
        """A path (..., T) for standard normal noise (..., T), in O(T); the same as that of :meth:`dense`."""
        shocks = (self.scale * noise).unbind(-1)
        carries = self.carry.unbind(-1)
        deviation = [shocks[0]]
        for carry, shock in zip(carries[1:], shocks[1:], strict=True):
            deviation.append(torch.addcmul(shock, carry, deviation[-1]))
        return self.mean + torch.stack(deviation, dim=-1)

    def spread_under(self, p: Gaussian) -> Tensor:
        """tr(S_p^-1 S) of the two covariances (...), in O(T^2).

        With S_p = F F^T it is the sum of squares of F^-1 B^-1. Column k of that product without its factor scale_k is
        column k of F^-1 and carry_(k+1) times column k + 1: no covariance is ever made.
        """
        n_frames = self.mean.shape[-1]
        columns = p.whiten(torch.eye(n_frames, dtype=self.mean.dtype)).expand(*self.mean.shape, n_frames).unbind(-1)
        carries = self.carry[..., None].unbind(-2)
        column = columns[-1]
        squares = [column.square().sum(-1)]
        for before, carry in zip(columns[-2::-1], carries[:0:-1], strict=True):
            column = torch.addcmul(before, carry, column)
            squares.append(column.square().sum(-1))
        return (self.scale.square() * torch.stack(squares[::-1], dim=-1)).sum(-1)

    def log_det(self) -> Tensor:
        """Logarithm of the covariance's determinant (...), in O(T)."""
        return 2 * self.scale.log().sum(-1)

    def dense(self) -> Gaussian:
        """The same Gaussian with its full covariance, in O(T^2).

        Row t of the Cholesky factor B^-1 is carry_t times row t - 1, and scale_t on the diagonal.
        """
        shocks = torch.diag_embed(self.scale).unbind(-2)
        carries = self.carry[..., None].unbind(-2)
        rows = [shocks[0]]
        for carry, shock in zip(carries[1:], shocks[1:], strict=True):
            rows.append(torch.addcmul(shock, carry, rows[-1]))
        return Gaussian(self.mean, torch.stack(rows, dim=-2))


def kl_divergence(q: Gaussian | ChainGaussian, p: Gaussian) -> Tensor:
    """KL(q || p) in nats, (...): the term of the objective that holds the posterior to the prior (paper eq. 8).

    The direction is from posterior to prior, as the bound demands: log p(h) is at least the expectation over q of
    log p(h | z), less KL(q || p). It asks q to lie where the prior has mass, so that paths drawn from the prior are
    paths that the decoder knows; the other direction bounds nothing, and lets q wander where the prior never goes.

    With means m and covariances S, it is half of tr(S_p^-1 S_q) + (m_p - m_q)^T S_p^-1 (m_p - m_q) - T
    + log det S_p - log det S_q.
    """
    n_frames = q.mean.shape[-1]
    shift = p.whiten((q.mean - p.mean)[..., None]).square().sum((-2, -1))
    return 0.5 * (q.spread_under(p) + shift - n_frames + p.log_det() - q.log_det())
