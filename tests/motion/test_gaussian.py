"""Gaussians over time against torch.distributions, brute force and what can be worked out by hand; in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal
from torch.distributions import kl_divergence as reference_kl

from dfanerf_rt.errors import ShapeError
from dfanerf_rt.motion.gaussian import ChainGaussian, Conditional, Gaussian, Posterior, kl_divergence, prior
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


def test_a_chain_needs_no_covariance_for_its_divergence(generator: torch.Generator) -> None:
    chain, p = some_chain(generator, 5, 3, N_FRAMES), prior(KERNELS, N_FRAMES, torch.float64)
    torch.testing.assert_close(kl_divergence(chain, p), kl_divergence(chain.dense(), p))
    torch.testing.assert_close(chain.spread_under(p), chain.dense().spread_under(p))
    other = some_chain(generator, 3, N_FRAMES).dense()
    torch.testing.assert_close(kl_divergence(chain, other), kl_divergence(chain.dense(), other))


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

    def chained(mean: Tensor, carry: Tensor, scale: Tensor) -> Tensor:
        return kl_divergence(ChainGaussian(mean, carry, scale), p)

    inputs = tuple(part.requires_grad_() for part in (chain.mean, chain.carry, chain.scale))
    assert torch.autograd.gradcheck(divergence, inputs)
    assert torch.autograd.gradcheck(chained, inputs)
    noise = normal(generator, 2, 3, 5)
    assert torch.autograd.gradcheck(lambda *parts: ChainGaussian(*parts).sample(noise), inputs)


def test_even_the_best_chain_is_no_path_of_the_prior() -> None:
    """Why the model does without: a dimension that says nothing costs it 0.2 nats a frame and more."""
    process = prior((CauchyKernel(8.0),), 48, torch.float64)
    carry = torch.full((1, 48), 0.9, dtype=torch.float64, requires_grad=True)
    log_scale = torch.full((1, 48), -2.0, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([carry, log_scale], max_iter=100, line_search_fn="strong_wolfe")

    def divergence() -> Tensor:
        optimiser.zero_grad()
        found = kl_divergence(ChainGaussian(torch.zeros_like(carry), carry, log_scale.exp()), process).sum()
        found.backward()
        return found

    optimiser.step(divergence)  # type: ignore[arg-type]
    assert 0.2 < float(divergence().detach()) / 48 < 0.5


def looks(generator: torch.Generator, *shape: int) -> tuple[Tensor, Tensor]:
    """Values and precisions, some of them next to nothing."""
    return normal(generator, *shape), (4 * normal(generator, *shape)).exp()


def test_posterior_is_the_textbooks(generator: torch.Generator) -> None:
    """Gaussian process regression: the covariance is (K^-1 + diag(precision))^-1."""
    process = prior(KERNELS, N_FRAMES, torch.float64)
    value, precision = looks(generator, 2, 3, N_FRAMES)
    found = Posterior.given(process, value, precision)
    k = process.factor @ process.factor.mT
    expected = torch.linalg.inv(torch.linalg.inv(k) + torch.diag_embed(precision))
    torch.testing.assert_close(found.mean, (expected @ (precision * value)[..., None])[..., 0], atol=1e-8, rtol=1e-8)
    # A sample is linear in its noise; its matrix is a root of the covariance.
    root = torch.stack([found.sample(unit) - found.mean for unit in torch.eye(N_FRAMES, dtype=torch.float64)], dim=-1)
    torch.testing.assert_close(root @ root.mT, expected, atol=1e-10, rtol=1e-8)
    reference = MultivariateNormal(found.mean, expected)
    torch.testing.assert_close(
        found.divergence(), reference_kl(reference, as_reference(process).expand(torch.Size((2, 3)))), rtol=1e-6, atol=0
    )


def test_one_frame_seen_by_hand() -> None:
    """N(0, 1) seen as 3 with noise of variance 1/2: mean 2, variance 1/3; KL by the formula of two normals."""
    one = torch.ones(1, dtype=torch.float64)
    found = Posterior.given(Gaussian(0 * one, one[:, None]), 3 * one, 2 * one)
    assert found.mean.item() == pytest.approx(2.0)
    assert (found.sample(one) - found.mean).item() == pytest.approx(3**-0.5)
    assert found.divergence().item() == pytest.approx((1 / 3 + 4 - 1 + torch.log(3 * one).item()) / 2)


def test_seeing_nothing_leaves_the_prior_and_seeing_all_the_values(generator: torch.Generator) -> None:
    process = prior(KERNELS, N_FRAMES, torch.float64)
    value, noise = normal(generator, 3, N_FRAMES), normal(generator, 3, N_FRAMES)
    blind = Posterior.given(process, value, torch.zeros_like(value))
    torch.testing.assert_close(blind.sample(noise), process.sample(noise))
    assert not blind.divergence().any()
    clear = Posterior.given(process, value, torch.full_like(value, 1e9))
    torch.testing.assert_close(clear.mean, value, atol=1e-4, rtol=0)


def test_frames_seen_are_frames_given(generator: torch.Generator) -> None:
    """Seeing some frames without noise and others not at all is conditioning on them."""
    value, precision = normal(generator, 3, 6), torch.tensor([1e10, 0, 1e10, 1e10, 0, 0], dtype=torch.float64)
    seen = Posterior.given(prior(KERNELS, 6, torch.float64), value, precision.expand(3, -1))
    known, asked = torch.tensor([0, 2, 3]), torch.tensor([1, 4, 5])
    given = Conditional.of(KERNELS, known, asked, torch.float64).given(value[:, known])
    torch.testing.assert_close(seen.mean[:, asked], given.mean, atol=1e-5, rtol=0)


def test_gradients_of_the_posterior(generator: torch.Generator) -> None:
    process, noise = prior(KERNELS, 5, torch.float64), normal(generator, 2, 3, 5)
    value, log_precision = normal(generator, 2, 3, 5).requires_grad_(), normal(generator, 2, 3, 5).requires_grad_()

    def both(value: Tensor, log_precision: Tensor) -> tuple[Tensor, Tensor]:
        posterior = Posterior.given(process, value, log_precision.exp())
        return posterior.sample(noise), posterior.divergence()

    assert torch.autograd.gradcheck(both, (value, log_precision))


def test_single_precision_is_good_enough_to_train_with(generator: torch.Generator) -> None:
    """At four seconds and the longest length scale in use, the divergence of a smooth posterior."""
    kernels = multi_scale(32.0, 2, 2)
    n_frames = 100
    p = prior(kernels, n_frames, torch.float64)
    scale = torch.full((2, n_frames), 0.05, dtype=torch.float64)
    q = ChainGaussian(p.sample(normal(generator, 2, n_frames)), torch.full_like(scale, 0.9), scale)
    single = ChainGaussian(q.mean.float(), q.carry.float(), q.scale.float())
    expected = kl_divergence(q.dense(), p)
    torch.testing.assert_close(kl_divergence(single, prior(kernels, n_frames)).double(), expected, rtol=1e-4, atol=0)
    value, precision = p.sample(normal(generator, 2, n_frames)), 1e3 * torch.ones(2, n_frames, dtype=torch.float64)
    torch.testing.assert_close(
        Posterior.given(prior(kernels, n_frames), value.float(), precision.float()).divergence().double(),
        Posterior.given(p, value, precision).divergence(),
        rtol=1e-3,
        atol=0,
    )
