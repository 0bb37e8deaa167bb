"""Gaussians over time against torch.distributions, brute force and what can be worked out by hand; in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal
from torch.distributions import kl_divergence as reference_kl

from dfanerf_rt.errors import ShapeError
from dfanerf_rt.motion.gaussian import ChainGaussian, Conditional, Gaussian, kl_divergence, prior
from dfanerf_rt.motion.kernel import CauchyKernel, covariance, multi_scale

N_FRAMES = 12
KERNELS = multi_scale(6.0, 2, 3)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def some_chain(generator: torch.Generator, *shape: int) -> ChainGaussian:
    scale = 0.2 + torch.rand(shape, generator=generator, dtype=torch.float64)
    return ChainGaussian(normal(generator, *shape), 1.5 * normal(generator, *shape).tanh(), scale)


def as_reference(gaussian: Gaussian) -> MultivariateNormal:
    return MultivariateNormal(gaussian.mean, scale_tril=gaussian.factor)


def test_paths_have_the_kernels_covariance(generator: torch.Generator) -> None:
    process = prior(KERNELS, N_FRAMES, torch.float64)
    paths = process.sample(normal(generator, 200_000, 3, N_FRAMES))
    found = torch.einsum("nls,nlt->lst", paths, paths) / len(paths)
    times = torch.arange(N_FRAMES, dtype=torch.float64)
    # a covariance of n samples is off by about sqrt(2 / n)
    torch.testing.assert_close(found, covariance(KERNELS, times, times), atol=5 * (2 / len(paths)) ** 0.5, rtol=0)


def test_given_two_values_by_hand() -> None:
    """For a kernel that is 1, a and b at distances 0, 1 and 2, the middle given both ends is (z0 + z2) a / (1 + b)."""
    kernel = CauchyKernel(2.0, jitter=0.0)
    a, b = 0.8, 0.5
    middle = Conditional.of((kernel,), torch.tensor([0, 2]), torch.tensor([1]), torch.float64)
    found = middle.given(torch.tensor([[1.0, 4.0]], dtype=torch.float64))
    assert found.mean.item() == pytest.approx(5 * a / (1 + b), abs=1e-12)
    assert found.factor.item() ** 2 == pytest.approx(1 - 2 * a * a / (1 + b), abs=1e-12)


def test_conditional_is_the_textbooks(generator: torch.Generator) -> None:
    observed, asked = torch.tensor([5.0, 0.0, 1.0, 9.0, 10.5]), torch.tensor([2.0, 3.0, 11.0])
    values = normal(generator, 4, 3, 5)
    found = Conditional.of(KERNELS, observed, asked, torch.float64).given(values)
    o, a = observed.double(), asked.double()
    inverse = torch.linalg.inv(covariance(KERNELS, o, o))
    cross = covariance(KERNELS, a, o)
    torch.testing.assert_close(found.mean, torch.einsum("lao,lop,blp->bla", cross, inverse, values))
    torch.testing.assert_close(
        found.factor @ found.factor.mT, covariance(KERNELS, a, a) - cross @ inverse @ cross.mT, atol=1e-12, rtol=0
    )


def test_a_path_continued_piece_by_piece_is_a_path_of_the_process(generator: torch.Generator) -> None:
    """The chain rule: the density of a whole path is that of its beginning times that of the rest given it."""
    path = normal(generator, 3, N_FRAMES)
    log_prob = as_reference(prior(KERNELS, 4, torch.float64)).log_prob(path[:, :4])
    for start in (4, 8):
        times = torch.arange(start + 4)
        rest = Conditional.of(KERNELS, times[:start], times[start:], torch.float64).given(path[:, :start])
        log_prob = log_prob + as_reference(rest).log_prob(path[:, start : start + 4])
    whole = as_reference(prior(KERNELS, N_FRAMES, torch.float64)).log_prob(path)
    torch.testing.assert_close(log_prob, whole)


def test_given_nothing_it_is_the_prior() -> None:
    found = Conditional.of(KERNELS, torch.zeros(0), torch.arange(N_FRAMES), torch.float64)
    gaussian = found.given(torch.zeros(3, 0, dtype=torch.float64))
    assert not gaussian.mean.any()
    torch.testing.assert_close(gaussian.factor, prior(KERNELS, N_FRAMES, torch.float64).factor)


def test_a_frame_cannot_be_both_known_and_asked_for() -> None:
    with pytest.raises(ValueError, match="must all differ"):
        Conditional.of(KERNELS, torch.tensor([0, 1]), torch.tensor([1, 2]))


def test_a_chain_has_a_bidiagonal_factor_of_its_precision(generator: torch.Generator) -> None:
    chain = some_chain(generator, 2, 3, N_FRAMES)
    bidiagonal = torch.diag_embed(1 / chain.scale)
    bidiagonal -= torch.diag_embed((chain.carry / chain.scale)[..., 1:], offset=-1)
    dense = chain.dense()
    torch.testing.assert_close(dense.factor, torch.linalg.inv(bidiagonal))
    precision = torch.linalg.inv(dense.factor @ dense.factor.mT)
    torch.testing.assert_close(precision, bidiagonal.mT @ bidiagonal)
    assert float(precision.triu(2).abs().max()) < 1e-9 * float(precision.abs().max())


def test_a_chain_samples_and_measures_as_its_full_covariance_does(generator: torch.Generator) -> None:
    chain = some_chain(generator, 2, 3, N_FRAMES)
    noise = normal(generator, 2, 3, N_FRAMES)
    torch.testing.assert_close(chain.sample(noise), chain.dense().sample(noise))
    covariances = chain.dense().factor @ chain.dense().factor.mT
    torch.testing.assert_close(chain.log_det(), torch.logdet(covariances))
    torch.testing.assert_close(chain.log_det(), chain.dense().log_det())
    one = ChainGaussian(chain.mean[..., :1], chain.carry[..., :1], chain.scale[..., :1])
    torch.testing.assert_close(one.sample(noise[..., :1]), one.mean + one.scale * noise[..., :1])


def test_what_a_chain_is_made_of_has_one_shape() -> None:
    with pytest.raises(ShapeError, match=r"\(3,\), \(3,\) and \(2,\)"):
        ChainGaussian(torch.zeros(3), torch.zeros(3), torch.ones(2))


@pytest.mark.parametrize("keep_inverse", [True, False])
def test_kl_is_the_references(generator: torch.Generator, keep_inverse: bool) -> None:
    q, p = some_chain(generator, 5, 3, N_FRAMES).dense(), prior(KERNELS, N_FRAMES, torch.float64)
    if not keep_inverse:
        p = Gaussian(p.mean + 0.5, p.factor)
    expected = reference_kl(as_reference(q), as_reference(p).expand(torch.Size((5, 3))))
    torch.testing.assert_close(kl_divergence(q, p), expected)


def test_kl_by_hand() -> None:
    """Of N(1, 4) from N(0, 1): (4 + 1 - 1 - ln 4) / 2. Three independent frames have three times as much."""
    three = torch.ones(3, dtype=torch.float64)
    q, p = ChainGaussian(three, 0 * three, 2 * three).dense(), ChainGaussian(0 * three, 0 * three, three).dense()
    expected = 3 * (4 - torch.log(4 * three[0])) / 2
    torch.testing.assert_close(kl_divergence(q, p), expected)
    torch.testing.assert_close(kl_divergence(q, p), reference_kl(Normal(three, 2), Normal(0 * three, 1)).sum())
    assert kl_divergence(q, q) == 0


def test_kl_is_the_mean_of_the_log_ratio_under_q(generator: torch.Generator) -> None:
    """By brute force, which also shows the direction: samples come from the first argument."""
    q, p = some_chain(generator, N_FRAMES).dense(), prior(KERNELS[:1], N_FRAMES, torch.float64)
    paths = q.sample(normal(generator, 100_000, N_FRAMES))
    ratio = as_reference(q).log_prob(paths) - as_reference(p).log_prob(paths[:, None])[:, 0]
    error = ratio.std() / len(paths) ** 0.5
    assert abs(float(ratio.mean() - kl_divergence(q, p)[0])) < 5 * float(error)


def test_gradients_are_those_of_the_formula(generator: torch.Generator) -> None:
    chain = some_chain(generator, 2, 3, 5)
    p = prior(KERNELS, 5, torch.float64)

    def divergence(mean: Tensor, carry: Tensor, scale: Tensor) -> Tensor:
        return kl_divergence(ChainGaussian(mean, carry, scale).dense(), p)

    inputs = tuple(part.requires_grad_() for part in (chain.mean, chain.carry, chain.scale))
    assert torch.autograd.gradcheck(divergence, inputs)
    noise = normal(generator, 2, 3, 5)
    assert torch.autograd.gradcheck(lambda *parts: ChainGaussian(*parts).sample(noise), inputs)


def test_single_precision_is_good_enough_to_train_with(generator: torch.Generator) -> None:
    """At four seconds and the longest length scale in use, the divergence of a smooth posterior."""
    kernels = multi_scale(32.0, 2, 2)
    n_frames = 100
    p = prior(kernels, n_frames, torch.float64)
    scale = torch.full((2, n_frames), 0.05, dtype=torch.float64)
    q = ChainGaussian(p.sample(normal(generator, 2, n_frames)), torch.full_like(scale, 0.9), scale)
    single = ChainGaussian(q.mean.float(), q.carry.float(), q.scale.float())
    expected = kl_divergence(q.dense(), p)
    torch.testing.assert_close(
        kl_divergence(single.dense(), prior(kernels, n_frames)).double(), expected, rtol=1e-4, atol=0
    )
