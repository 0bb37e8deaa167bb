"""People whom no motion model has met: synthetic, of another seed than those it learned from, so with other voices,
habits and sentences. Each is shown to the models as a clip is in ``dfanerf train``, and then moves by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dfanerf_rt.audio.stress import find_stresses, stress_track
from dfanerf_rt.clip.format import Clip
from dfanerf_rt.clip.motion import motion_of_clip
from dfanerf_rt.clip.motion_corpus import MotionCorpus, MotionCorpusConfig, build_motion_corpus
from dfanerf_rt.errors import ClipError
from dfanerf_rt.motion.generator import MotionGenerator
from dfanerf_rt.motion.models import MotionModels
from dfanerf_rt.motion.person import PersonalMotion
from dfanerf_rt.motion.track import FPS, MotionTrack
from dfanerf_rt.sync.model import AudioEncoder, encode_audio
from dfanerf_rt.train.person_motion import Outcome, PersonalTraining, adapt_motion

OTHER_SEED = 1
CLIP_S = 300.0
_SPARE = 61 / 60
"""What comes out differs a little from what is asked for."""


@dataclass(frozen=True)
class Stranger:
    """A person and everything that the person did and said."""

    number: int
    track: MotionTrack
    audio_code: Tensor
    """(T, 32)."""
    stress: Tensor
    """(T,)."""

    @property
    def name(self) -> str:
        """In tables."""
        return f"person {self.number}"

    def clip(self, clip_s: float = CLIP_S) -> Stranger:
        """The beginning, which the models are shown."""
        n_frames = round(clip_s * FPS)
        return Stranger(
            self.number, self.track.cut(slice(0, n_frames)), self.audio_code[:n_frames], self.stress[:n_frames]
        )


def strangers(folder: Path, n_people: int, minutes: float) -> list[Stranger]:
    """People who speak for about so long each; made in ``folder`` where they are not there.

    Raises:
        ClipError: the folder holds other people.
    """
    hours = n_people * minutes * _SPARE / 60.0
    config = MotionCorpusConfig(hours=hours, seed=OTHER_SEED, n_personas=n_people)
    return list(people_of(build_motion_corpus(folder, config)))


def people_of(corpus: MotionCorpus) -> Iterator[Stranger]:
    """Each person's takes, one after another."""
    takes = list(corpus)
    for number in sorted({take.persona for take in takes}):
        own = [take for take in takes if take.persona == number]
        codes = [take.track.eye_code for take in own]
        eyes = torch.cat([code for code in codes if code is not None])
        track = MotionTrack(torch.cat([take.track.head_pose for take in own]), eyes, FPS)
        yield Stranger(
            number, track, torch.cat([take.audio_code for take in own]), torch.cat([take.stress for take in own])
        )


def stranger_of_clip(folder: Path) -> Stranger:
    """The real person of a prepared clip.

    Raises:
        ClipError: it is none, has no sound, or another rate than 25 frames a second.
    """
    clip = Clip(folder)
    track, sound = motion_of_clip(clip), clip.audio()
    if track.fps != FPS:
        raise ClipError(f"{folder}: {track.fps:g} frames a second, expected {FPS:g}")
    if sound is None:
        raise ClipError(f"{folder}: has no sound")
    code = encode_audio(AudioEncoder.bundled().live(), sound, len(track))
    return Stranger(-1, track, code, torch.from_numpy(stress_track(find_stresses(sound), len(track), FPS)).float())


def adapted(
    person: Stranger, models: MotionModels, clip_s: float, budget_s: float = 20.0
) -> tuple[PersonalMotion, dict[str, Outcome]]:
    """The models bent to a person by the beginning of what the person did."""
    shown = person.clip(clip_s)
    if shown.track.duration_s < 0.9 * clip_s:
        raise ClipError(f"{person.name}: {shown.track.duration_s:.0f} s of motion, expected {clip_s:g} s")
    return adapt_motion(shown.track, shown.audio_code, models, PersonalTraining(budget_s=budget_s))


def generated(personal: PersonalMotion, audio_code: Tensor | None, n_frames: int, seed: int) -> MotionTrack:
    """So many frames as the avatar would move, hearing the codes over and over, or nothing."""
    generator = MotionGenerator(personal, seed)
    poses, eyes = [], []
    for frame in range(n_frames):
        if audio_code is not None:
            generator.hear(audio_code[frame % len(audio_code)])
        pose, eye = generator.next()
        poses.append(pose)
        eyes.append(eye)
    return MotionTrack(torch.stack(poses), torch.stack(eyes), FPS)
