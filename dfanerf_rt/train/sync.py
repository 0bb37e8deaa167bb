"""Training of the audio encoder: contrastive audio-lip loss (paper eq. 3) and regression to mouth codes.

Hours of synthesised speech teach it voices and languages (``dfanerf_rt.train.speech``), a clip then one person's lips.
Dropout and the average of the weights along the way keep it from learning a clip by heart.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from dfanerf_rt.attributes.model import AttributeModel
from dfanerf_rt.clip.judgement import good_stretches
from dfanerf_rt.errors import ClipError
from dfanerf_rt.sync.model import (
    FRAME_SAMPLES,
    LIVE_LOOKAHEAD_MS,
    N_SIMILARITY,
    AudioEncoder,
    SyncConfig,
)
from dfanerf_rt.train.calibrate import calibrated
from dfanerf_rt.train.muon import Muon
from dfanerf_rt.train.sync_corpus import FINE_TUNING, Corpus, Pair, SyncTraining, augment, resting_code


def train_sync(
    samples: NDArray[np.float32],
    mouth_code: Tensor,
    attributes: AttributeModel,
    config: SyncConfig | None = None,
    training: SyncTraining | None = None,
    init: AudioEncoder | None = None,
    budget_s: float = math.inf,
    seed: int = 0,
    on_progress: Callable[[float, dict[str, float]], None] = lambda fraction, scalars: None,
    should_stop: Callable[[], bool] = lambda: False,
    tracked: Tensor | None = None,
) -> AudioEncoder:
    """Train E_a on one clip, so that its codes follow the mouth codes; silence gives the person's closed mouth.

    Where it starts from weights, they are brought into the person's range first
    (:func:`~dfanerf_rt.train.calibrate.calibrated`), and the schedule is :data:`FINE_TUNING` unless one is given.

    Args:
        samples: (N,) sound of the clip at 16 kHz; what lies beyond the last frame of ``mouth_code`` is not heard.
        mouth_code: (T, mouth_dim) f_m of the training frames, frame k at sample 640 k.
        attributes: made ``mouth_code``.
        tracked: (T,) bool, frames whose mouth code is what the mouth did; all by default. What is said meanwhile in
            others is not learned from.

    The other arguments, the result and the errors are those of :func:`train_on_pairs`.
    """
    if tracked is None:
        tracked = torch.ones(len(mouth_code), dtype=torch.bool)
    training = training or (FINE_TUNING if init is not None else SyncTraining())
    rest = resting_code(attributes, mouth_code[tracked])
    pairs = [
        (samples[part.start * FRAME_SAMPLES : part.stop * FRAME_SAMPLES], mouth_code[part])
        for part in good_stretches(tracked, training.segment_frames)
    ]
    if init is not None and training.calibrate and pairs:
        init = calibrated(init, pairs, rest)
    return train_on_pairs(pairs, rest, attributes, config, training, init, budget_s, seed, on_progress, should_stop)


@torch.enable_grad()
def train_on_pairs(
    pairs: Sequence[Pair],
    rest: Tensor,
    attributes: AttributeModel,
    config: SyncConfig | None = None,
    training: SyncTraining | None = None,
    init: AudioEncoder | None = None,
    budget_s: float = math.inf,
    seed: int = 0,
    on_progress: Callable[[float, dict[str, float]], None] = lambda fraction, scalars: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> AudioEncoder:
    """Train E_a on several pieces of sound with their mouth codes.

    Args:
        pairs: sound and mouth codes; frame k of a pair is at sample 640 k.
        rest: (code_dim,) the code of the closed mouth, which silence shall give.
        attributes: made the codes; says when lips are closed.
        config: what the encoder hears; that of ``init`` where ``init`` is given.
        training: schedule.
        init: an encoder to start from.
        budget_s: the schedule ends after this time, or after ``training.steps`` if that is sooner.
        seed: of weights, dropout, augmentation and batches.
        on_progress: called every 25 steps with the fraction done and ``loss``, ``regression``, ``closure``,
            ``contrastive``.
        should_stop: asked every step; True ends training early.

    Returns:
        The encoder in evaluation mode.

    Raises:
        ClipError: less than two seconds of sound with codes.
    """
    training = training or SyncTraining()
    config = init.config if init is not None else config or SyncConfig()
    n_frames = sum(len(codes) for _, codes in pairs)
    if n_frames < 50:
        raise ClipError(f"{n_frames} frames with sound to learn lip movement from, expected 50 or more")
    random = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = AudioEncoder(config, training.dropout)
        if init is not None:
            encoder.load_state_dict(init.state_dict())
        corpus = Corpus(pairs, rest, attributes, config, training, random)
        _set_statistics(encoder, corpus, keep_features=init is not None)
        encoder = _optimise(encoder, corpus, training, init is not None, budget_s, random, on_progress, should_stop)
    return encoder.eval().requires_grad_(False)


def _set_statistics(encoder: AudioEncoder, corpus: Corpus, keep_features: bool) -> None:
    """Take over mean and spread of the sound; the output starts at the mean code."""
    if not keep_features:
        encoder.feature_mean.copy_(corpus.features.mean(dim=0))
        encoder.feature_std.copy_(corpus.features.std(dim=0).clamp(min=1.0))
        encoder.code_mean.copy_(corpus.codes.mean(dim=0))
        encoder.similarity.copy_(_similarity(corpus.codes))
        last = encoder.head[-1]
        assert isinstance(last, nn.Conv1d) and last.bias is not None
        nn.init.normal_(last.weight, std=0.02)
        nn.init.zeros_(last.bias)


def _similarity(codes: Tensor) -> Tensor:
    """Principal components of codes as columns (code_dim, 8), each divided by the square root of its spread."""
    variance, directions = torch.linalg.eigh(torch.cov(codes.T.double()))
    largest = variance[-N_SIMILARITY:].flip(0).clamp(min=1e-8)
    return (directions[:, -N_SIMILARITY:].flip(1) / largest**0.25).to(codes.dtype)


def _optimise(
    encoder: AudioEncoder,
    corpus: Corpus,
    training: SyncTraining,
    from_weights: bool,
    budget_s: float,
    random: np.random.Generator,
    on_progress: Callable[[float, dict[str, float]], None],
    should_stop: Callable[[], bool],
) -> AudioEncoder:
    similarity = nn.Parameter(torch.tensor([5.0, -1.0]))
    weights = list(encoder.parameters())
    optimisers = _optimisers([*weights, similarity], training)
    # Decoupled weight decay (Loshchilov & Hutter 2019), towards the weights that training starts from where it is given
    # any: little sound of one person shall bend what much speech has taught, and not erase it.
    home = [weight.detach().clone() if from_weights else torch.zeros_like(weight) for weight in weights]
    average = torch.optim.swa_utils.AveragedModel(
        encoder, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(training.average_decay)
    )
    spread = corpus.codes.var(dim=0).sum()
    encoder.train()
    begin = time.monotonic()
    for step in range(training.steps):
        done = max(step / training.steps, (time.monotonic() - begin) / budget_s)
        if done >= 1.0 or should_stop():
            break
        rate = training.learning_rate * min(1.0, 10.0 * done + 0.02) * math.cos(0.5 * math.pi * done) ** 2
        for optimiser in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate
            optimiser.zero_grad(set_to_none=True)
        features, target, is_closed = corpus.batch(training.batch, random)
        n_taps = _some_taps(encoder.config, random) if training.vary_lookahead else None
        with torch.autocast("cpu", torch.bfloat16, enabled=training.bfloat16):
            apart, closed, logit = encoder.answers(augment(encoder, features, training), n_taps)
        code = torch.lerp(apart, closed, logit.sigmoid()[..., None])
        regression = torch.lerp(_distance(apart, target), _distance(closed, target), is_closed).mean() / spread
        velocity = _distance(code.diff(dim=1), target.diff(dim=1)).mean() / spread
        closure = F.binary_cross_entropy_with_logits(logit, is_closed)
        contrastive = _contrastive(code - encoder.code_mean, target - encoder.code_mean, similarity, training, random)
        follows = regression + training.velocity_weight * velocity + training.closure_weight * closure
        loss = training.regression_weight * follows + training.contrastive_weight * contrastive
        loss.backward()
        for optimiser in optimisers:
            optimiser.step()
        with torch.no_grad():
            for parameter, origin in zip(weights, home, strict=True):
                parameter.lerp_(origin, rate * training.weight_decay)
        average.update_parameters(encoder)
        if step % 25 == 24 or step == training.steps - 1:
            scalars = {"loss": loss, "regression": regression, "closure": closure, "contrastive": contrastive}
            on_progress(
                max(done, (step + 1) / training.steps), {name: float(value.detach()) for name, value in scalars.items()}
            )
    result = AudioEncoder(encoder.config)
    result.load_state_dict(average.module.state_dict())
    return result


def _optimisers(parameters: list[nn.Parameter], training: SyncTraining) -> list[torch.optim.Optimizer]:
    matrices = [parameter for parameter in parameters if training.muon and parameter.ndim > 1]
    others = [parameter for parameter in parameters if not training.muon or parameter.ndim <= 1]
    optimisers: list[torch.optim.Optimizer] = [torch.optim.Adam(others, lr=training.learning_rate)]
    return [*optimisers, Muon(matrices, training.learning_rate)] if matrices else optimisers


def _some_taps(config: SyncConfig, random: np.random.Generator) -> int:
    """How far this step may look ahead: as a live avatar does in half of the steps, else any way that is offered."""
    live, blind = (replace(config, lookahead_ms=min(ms, config.lookahead_ms)) for ms in (LIVE_LOOKAHEAD_MS, 0.0))
    return live.n_taps if random.random() < 0.5 else int(random.integers(blind.n_taps, config.n_taps + 1))


def _distance(code: Tensor, target: Tensor) -> Tensor:
    """(B, T, C) → (B, T), squared."""
    return ((code - target) ** 2).sum(dim=-1)


def _contrastive(
    code: Tensor, target: Tensor, similarity: Tensor, training: SyncTraining, random: np.random.Generator
) -> Tensor:
    """Eq. 3: binary cross-entropy on the cosine similarity of a few frames of sound and of lips.

    Positive pairs are aligned; negative ones are shifted by 3 frames or more within the segment, or come from another
    segment of the batch. A negative pair whose lips move like the positive's (two silences) says nothing: left out.
    """
    sound, lips = (_windows(x, training.contrastive_frames) for x in (code, target))
    n = lips.shape[1]
    shifted = lips.roll(int(random.integers(3, max(4, n - 3))), dims=1)
    foreign = lips.roll(int(random.integers(1, max(2, len(lips)))), dims=0)
    gain = F.softplus(similarity[0])
    positive = gain * F.cosine_similarity(sound, lips, dim=-1) + similarity[1]
    loss = F.binary_cross_entropy_with_logits(positive, torch.ones_like(positive))
    for other in (shifted, foreign):
        negative = gain * F.cosine_similarity(sound, other, dim=-1) + similarity[1]
        differs = (F.cosine_similarity(lips, other, dim=-1) < 0.7).float()
        each = F.binary_cross_entropy_with_logits(negative, torch.zeros_like(negative), reduction="none")
        loss = loss + 0.5 * (each * differs).sum() / differs.sum().clamp(min=1.0)
    return loss


def _windows(codes: Tensor, n: int) -> Tensor:
    """(B, T, C) → (B, T - n + 1, n C), consecutive frames side by side."""
    return codes.unfold(1, n, 1).flatten(2)
