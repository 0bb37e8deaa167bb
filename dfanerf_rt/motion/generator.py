"""Head and eyes of a person, generated from sound as it comes, without end: what ``--motion generated`` runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dfanerf_rt.errors import ShapeError
from dfanerf_rt.motion.blinks import BlinkStream
from dfanerf_rt.motion.noise import mixed
from dfanerf_rt.motion.person import PersonalMotion
from dfanerf_rt.motion.stream import MotionStream
from dfanerf_rt.motion.style import Style, Styled
from dfanerf_rt.motion.track import FPS

GeneratorState = dict[str, Any]
EASE_S = 0.25
"""Time constant of each of the two low-pass filters through which a control takes effect: about a second in all."""
NECK_M = (0.0, 0.11, 0.07)
"""The point of the head frame about which the head turns when it is told where to look: in the neck."""
_EASE = 1 - math.exp(-1 / (EASE_S * FPS))


class MotionGenerator:
    """Head pose and eye code, one call a frame.

    The head and the open eyes are paths of Gaussian processes (:class:`~dfanerf_rt.motion.stream.MotionStream`),
    brought to the person's place, spread and speed (:class:`~dfanerf_rt.motion.style.Style`); blinks are laid over the
    eyes (:class:`~dfanerf_rt.motion.blinks.BlinkStream`), and close them wholly. All of it stays inside the range that
    the person's recorded motion covers. The same seed gives the same frames, whatever the chunks of sound.

    Args:
        person: the models and the style.
        seed: of all chance.
        temperature: 1 moves as people do, less moves less; may be changed at any time.

    Raises:
        ShapeError: the models do not fit each other.
        ValueError: the temperature is negative.
    """

    def __init__(self, person: PersonalMotion, seed: int = 0, temperature: float = 1.0) -> None:
        self.person = person
        self.hold_still = False
        """The head comes to rest at the person's usual pose, and the lids are at rest but for blinks."""
        self.look_at: tuple[float, float] | None = None
        """Where the head is turned: degrees to the right of the picture and downwards from where it usually looks; None
        for nowhere else. The soft limit holds here too."""
        self._live = _Live(person, seed, temperature)

    @property
    def frame(self) -> int:
        """Number of the next frame."""
        return self._live.head.frame

    @property
    def temperature(self) -> float:
        """How much chance there is in what comes."""
        return self._live.head.temperature

    @temperature.setter
    def temperature(self, value: float) -> None:
        for stream in (self._live.head, self._live.eyes):
            stream.temperature = value

    def reseed(self, seed: int) -> None:
        """Let chance come from another seed; head and eyes go on from where they are, within a block of frames."""
        self._live.reseed(seed)

    def hear(self, code: Tensor) -> None:
        """Take the audio code (sound_dim,) of the next frame of sound; raises :class:`ShapeError` for another shape.

        Motion goes on without: who hears nothing moves as one who idles.
        """
        self._live.hear(code)

    def next(self) -> tuple[Tensor, Tensor]:
        """The head pose (6,) and eye code (16,) of the next frame."""
        live, person = self._live, self.person
        live.ease(self.hold_still, self.look_at)
        still, right, down = live.eased[1]
        head = live.head_style.next(live.head.next(), 1 - still, _turned(person.head, right, down))
        eyes = live.eye_style.next(live.eyes.next(), 1 - still)
        closure = live.blinks.next(live.hurry(), self.temperature)
        return head, torch.lerp(eyes, person.closed_eyes, closure)

    def state(self) -> GeneratorState:
        """All that the frames to come depend on, beside the person and the sound to come."""
        return {"hold_still": self.hold_still, "look_at": self.look_at, **self._live.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state` returned, in a generator of the same person.

        Raises:
            ShapeError: something is missing or of another shape; the generator stays as it was.
        """
        live = _Live(self.person, 0, 1.0)
        live.restore(state)
        look_at = state.get("look_at")
        if not isinstance(state.get("hold_still"), bool):
            raise ShapeError("state of a motion generator: 'hold_still' is missing or neither true nor false")
        if look_at is not None and len(look_at) != 2:
            raise ShapeError(f"state of a motion generator: 'look_at' is {look_at!r}, expected two numbers or None")
        hold_still = state["hold_still"]
        # Nothing above has touched this generator, so nothing is restored in part.
        self._live, self.hold_still, self.look_at = live, hold_still, None if look_at is None else tuple(look_at)


class _Live:
    """All that changes from frame to frame."""

    def __init__(self, person: PersonalMotion, seed: int, temperature: float) -> None:
        models = person.models
        self.head = MotionStream(models.head, models.head_encoder, mixed(seed, 1), temperature)
        self.eyes = MotionStream(models.eyes, models.eyes_encoder, mixed(seed, 2), temperature)
        self.blinks = BlinkStream(person.blinks, mixed(seed, 3))
        self.head_style, self.eye_style = (
            Styled(style, stream.recent_mean())
            for style, stream in ((person.head, self.head), (person.eyes, self.eyes))
        )
        self.eased = [[0.0] * 3, [0.0] * 3]
        """Hold-still, and degrees to the right and down: once and twice low-pass filtered."""
        self._clock = models.clock
        self._codes: dict[int, Tensor] = {}

    def reseed(self, seed: int) -> None:
        self.head.seed, self.eyes.seed, self.blinks.seed = (mixed(seed, number) for number in (1, 2, 3))

    def hear(self, code: Tensor) -> None:
        for stream in (self.head, self.eyes):
            stream.hear(code)
        self._codes[self.head.heard - 1] = code.detach().float()

    def hurry(self) -> float:
        """How fast the blinks' clock runs in the frame that was drawn last; 1 where its sound is not known."""
        newest = self.head.frame - 1
        n_frames = self._clock.config.window_frames
        self._codes = {frame: code for frame, code in self._codes.items() if frame > newest - n_frames}
        window = [self._codes.get(frame) for frame in range(newest - n_frames + 1, newest + 1)]
        known = [code for code in window if code is not None]
        if len(known) < n_frames:
            return 1.0
        with torch.no_grad():
            return math.exp(float(self._clock(torch.stack(known))))

    def ease(self, hold_still: bool, look_at: tuple[float, float] | None) -> None:
        right, down = look_at or (0.0, 0.0)
        once, twice = self.eased
        for k, wanted in enumerate((float(hold_still), right, down)):
            once[k] += _EASE * (wanted - once[k])
            twice[k] += _EASE * (once[k] - twice[k])

    def state(self) -> dict[str, Any]:
        frames = sorted(self._codes)
        return {
            "head": self.head.state(),
            "eyes": self.eyes.state(),
            "blinks": self.blinks.state(),
            "head_style": self.head_style.state(),
            "eyes_style": self.eye_style.state(),
            "eased": torch.tensor(self.eased, dtype=torch.float64),
            "code_frames": torch.tensor(frames, dtype=torch.int64),
            "codes": torch.stack([self._codes[frame] for frame in frames])
            if frames
            else torch.zeros(0, self._clock.config.sound_dim),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        n_codes = len(state["code_frames"]) if "code_frames" in state else 0
        shapes = {
            "head_style": tuple(self.head_style.state().shape),
            "eyes_style": tuple(self.eye_style.state().shape),
            "eased": (2, 3),
            "code_frames": (n_codes,),
            "codes": (n_codes, self._clock.config.sound_dim),
        }
        for name in ("head", "eyes", "blinks", *shapes):
            if name not in state:
                raise ShapeError(f"state of a motion generator: '{name}' is missing")
            if name in shapes and tuple(state[name].shape) != shapes[name]:
                found = tuple(state[name].shape)
                raise ShapeError(f"state of a motion generator: '{name}' has shape {found}, expected {shapes[name]}")
        self.head.restore(state["head"])
        self.eyes.restore(state["eyes"])
        self.blinks.restore(state["blinks"])
        self.head_style.restore(state["head_style"])
        self.eye_style.restore(state["eyes_style"])
        self.eased = state["eased"].tolist()
        self._codes = dict(zip(state["code_frames"].tolist(), state["codes"].clone().unbind(), strict=True))


def _turned(style: Style, right_deg: float, down_deg: float) -> Tensor | None:
    """(6,) by which a pose changes that looks so far to the right and down, turned about the neck."""
    if not right_deg and not down_deg:
        return None
    # A positive angle about y carries the nose to the left of the picture, about x down.
    about_x, about_y = math.radians(down_deg), -math.radians(right_deg)
    _, up, deep = NECK_M
    # The neck stays where it is: the head's origin moves against it by (R - 1) neck, to first order.
    moved = (-about_y * deep, about_x * deep, -about_x * up)
    return torch.tensor([about_x, about_y, 0.0, *moved]).to(style.centre)
