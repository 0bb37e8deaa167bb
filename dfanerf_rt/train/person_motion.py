"""From the models of anybody's motion to those of one person, out of what the person's clip shows."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dfanerf_rt.clip.motion import eye_codes
from dfanerf_rt.errors import ClipError, ShapeError
from dfanerf_rt.evaluate.blinks import eye_openness, find_blinks
from dfanerf_rt.face.arkit import ARKIT_INDEX, ARKIT_NAMES
from dfanerf_rt.motion.cross_modal import CrossModalEncoder
from dfanerf_rt.motion.model import MotionVae
from dfanerf_rt.motion.models import MotionModels
from dfanerf_rt.motion.person import PersonalMotion
from dfanerf_rt.motion.stream import MotionStream
from dfanerf_rt.motion.track import MotionTrack
from dfanerf_rt.threads import one_thread
from dfanerf_rt.train.blinks import closed_eye_code, evened_clock, rhythm_of, without_blinks
from dfanerf_rt.train.cross_modal import CrossModalTraining, Paths, train_cross_modal
from dfanerf_rt.train.loop import Progress, ShouldStop, never_stop, no_progress
from dfanerf_rt.train.style import fit_style

SHORTEST_FRAMES = 10
"""A track of fewer frames says nothing of how somebody moves."""

TELLING_FRAMES = 250
"""Sound of fewer frames does not tell how fast the blinks' clock runs with the person's voice on average."""


@dataclass(frozen=True)
class PersonalTraining:
    """How much is done for a person."""

    budget_s: float = 20.0
    """Time for fine-tuning each of the two cross-modal encoders."""
    steps: int = 400
    learning_rate: float = 2e-4
    held_out_share: float = 0.25
    """The last part of the clip, on which fine-tuning has to pay to be kept."""
    simulated_s: float = 300.0
    """Length of the motion that the style is fitted on."""


@dataclass(frozen=True)
class Outcome:
    """What became of fine-tuning one encoder: nats per frame by which E_ah foretells the held-out part better than the
    process alone, before and after; both None where the clip is too short to tell, or has no sound."""

    before: float | None = None
    after: float | None = None

    @property
    def kept(self) -> bool:
        """Whether the fine-tuned encoder is the one that is used."""
        return self.before is not None and self.after is not None and self.after > self.before


@one_thread()
def adapt_motion(
    track: MotionTrack,
    audio_code: Tensor | None,
    models: MotionModels | None = None,
    training: PersonalTraining | None = None,
    seed: int = 0,
    on_progress: Progress = no_progress,
    should_stop: ShouldStop = never_stop,
) -> tuple[PersonalMotion, dict[str, Outcome]]:
    """Bend motion to a person.

    Place, spread, speed and range of head and lids, and the rhythm of the blinks, are the person's, as far as the clip
    tells them. E_ah is fine-tuned to the person on the first part of the clip, and kept where it foretells the last
    part better than before; a few seconds never suffice for that, and leave it as it is.

    Args:
        track: the person's motion with eyes, 25 fps.
        audio_code: (T, 32) f_a of what was said meanwhile, None where there is no sound.
        models: the bundled ones by default; they stay as they are.
        training: how much is done.
        seed: of all chance.
        on_progress: called with the share done.
        should_stop: asked every step of fine-tuning.

    Returns:
        The personal motion, and what became of fine-tuning ``"head"`` and ``"eyes"``.

    Raises:
        ClipError: the track is too short or has no eyes.
        ShapeError: the audio codes are of another length.
    """
    training, models = training or PersonalTraining(), models or MotionModels.bundled()
    if track.eye_code is None:
        raise ClipError("a track of motion without eyes: a person has eyes to close")
    if len(track) < SHORTEST_FRAMES:
        raise ClipError(f"a track of {len(track)} frames, expected {SHORTEST_FRAMES} or more")
    if audio_code is not None and len(audio_code) != len(track):
        raise ShapeError(f"{len(track)} frames of motion and {len(audio_code)} audio codes, expected as many")
    openness = eye_openness(track.eye_code)
    opened = without_blinks(track.eye_code, find_blinks(openness))
    parts = {"head": track.head_pose.float(), "eyes": opened.float()}
    outcomes, styles, encoders = {}, {}, {}
    for number, (name, motion) in enumerate(parts.items()):
        model, encoder = getattr(models, name), getattr(models, f"{name}_encoder")
        mean, std = motion.mean(dim=0), motion.std(dim=0).clamp_min(1e-6)
        encoder, outcomes[name] = _fine_tuned(
            model, encoder, (motion - mean) / std, audio_code, training, seed, should_stop
        )
        on_progress(0.5 * number + 0.3, {})
        simulated = _simulated(model, encoder, audio_code, training, seed)
        styles[name], encoders[name] = fit_style(simulated, motion, mean, std, together=name == "eyes"), encoder
        on_progress(0.5 * (number + 1), {})
    told = audio_code is not None and len(audio_code) >= TELLING_FRAMES
    clock = evened_clock(models.clock, [audio_code]) if audio_code is not None and told else models.clock
    models = replace(models, head_encoder=encoders["head"], eyes_encoder=encoders["eyes"], clock=clock)
    person = PersonalMotion(
        models,
        styles["head"],
        styles["eyes"],
        closed_eye_code(track.eye_code.float(), openness, usual_closed_eyes()),
        rhythm_of(openness, track.fps),
    )
    return person, outcomes


def usual_closed_eyes() -> Tensor:
    """(16,) eye code of eyes closed by both ARKit blink units."""
    expression = torch.zeros(1, len(ARKIT_NAMES))
    expression[0, [ARKIT_INDEX["eyeBlinkLeft"], ARKIT_INDEX["eyeBlinkRight"]]] = 1.0
    return eye_codes(expression)[0]


def _fine_tuned(
    model: MotionVae,
    encoder: CrossModalEncoder,
    motion: Tensor,
    audio_code: Tensor | None,
    training: PersonalTraining,
    seed: int,
    should_stop: ShouldStop,
) -> tuple[CrossModalEncoder, Outcome]:
    """The encoder fine-tuned on the first part of normalised motion (T, C), or as it was; and what became of it."""
    n_train = math.floor(len(motion) * (1 - training.held_out_share))
    shortest = max(encoder.config.past_frames, encoder.config.context_frames) + 2 * encoder.config.block_frames
    if audio_code is None or min(n_train, len(motion) - n_train) < shortest:
        return encoder, Outcome()
    first, last = ([(motion[part], audio_code[part])] for part in (slice(0, n_train), slice(n_train, None)))
    judged = Paths(last, model, encoder, seed)
    tuned = copy.deepcopy(encoder)
    schedule = CrossModalTraining(steps=training.steps, learning_rate=training.learning_rate)
    paths = Paths(first, model, tuned, seed)
    train_cross_modal(paths, tuned, schedule, training.budget_s, seed, should_stop=should_stop)
    outcome = Outcome(_gain(judged, encoder), _gain(judged, tuned))
    return (tuned if outcome.kept else encoder), outcome


@torch.no_grad()
def _gain(paths: Paths, encoder: CrossModalEncoder) -> float:
    nats, alone = paths.batch(1024, torch.Generator().manual_seed(0)).nats(encoder)
    return float((alone - nats).mean())


def _simulated(
    model: MotionVae, encoder: CrossModalEncoder, audio_code: Tensor | None, training: PersonalTraining, seed: int
) -> Tensor:
    """(S, C) normalised motion as the models make it, hearing the clip's sound over and over."""
    stream = MotionStream(model, encoder, seed)
    frames = []
    for index in range(round(training.simulated_s * 25)):
        if audio_code is not None:
            stream.hear(audio_code[index % len(audio_code)])
        frames.append(stream.next())
    return torch.stack(frames)
