"""Motion without end, block by block, from sound as it comes: the motion model and its cross-modal encoder run live."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dfanerf_rt.errors import ShapeError
from dfanerf_rt.motion.cross_modal import CrossModalEncoder
from dfanerf_rt.motion.gaussian import prior
from dfanerf_rt.motion.model import MotionVae
from dfanerf_rt.motion.noise import frame_noise

State = dict[str, Tensor | int | float]


class MotionStream:
    """Frames of one motion, drawn as they are asked for.

    A block is drawn when its first frame is asked for, from the latent path so far, the last poses, and the audio codes
    up to and including that frame: motion adds no delay to the sound, and it does not matter whether later codes are
    there already. How path and sound are joined is told in :mod:`dfanerf_rt.motion.cross_modal`. The noise of a frame
    is a function of the seed and of the frame's number, so the same seed gives the same frames, whatever the chunks in
    which the sound comes. Before the first frame stands a past drawn from the process: nothing has to settle.

    Args:
        model: its decoder makes poses of the path.
        encoder: E_ah, trained beside ``model``.
        seed: of all noise.
        temperature: 1 moves as people do; less, down to 0, moves less and does the likeliest thing more often.

    Raises:
        ShapeError: the encoder belongs to a model of other sizes, or knows less of the past than the decoder needs.
        ValueError: the temperature is negative.
    """

    @torch.no_grad()
    def __init__(self, model: MotionVae, encoder: CrossModalEncoder, seed: int = 0, temperature: float = 1.0) -> None:
        if encoder.motion != model.config:
            raise ShapeError(f"the cross-modal encoder continues paths of {encoder.motion}, not of {model.config}")
        if encoder.config.past_frames < max(model.config.context_frames, encoder.config.context_frames):
            raise ShapeError(f"a past of {encoder.config.past_frames} frames is shorter than what is decoded from it")
        self.temperature = temperature
        self.seed, self.frame = seed, 0
        """The next frame's number."""
        self._model, self._encoder = model, encoder
        self._config = encoder.config
        start = torch.arange(-self._config.past_frames, 0)
        self._past = prior(model.config.kernels, len(start)).sample(self._noise(start))
        self._pose = model.decoder(self._past[None])[0, -self._config.context_frames :]
        self._waiting = self._pose[:0]
        self._sound: dict[int, Tensor] = {}
        self._heard = 0

    @property
    def temperature(self) -> float:
        """How much chance there is in what comes; may be changed at any time."""
        return self._temperature

    @temperature.setter
    def temperature(self, value: float) -> None:
        if not value >= 0:
            raise ValueError(f"temperature is {value}, expected 0 or more")
        self._temperature = float(value)

    def hear(self, code: Tensor) -> None:
        """Take the audio code (sound_dim,) of the next frame of sound.

        Codes are those of consecutive frames from 0 on. Where frames were drawn without any, the next code belongs to
        the frame that is drawn next.

        Raises:
            ShapeError: another shape.
        """
        if tuple(code.shape) != (self._config.sound_dim,):
            raise ShapeError(f"audio code: found shape {tuple(code.shape)}, expected ({self._config.sound_dim},)")
        self._heard = max(self._heard, self.frame)
        self._sound[self._heard] = code.detach().float()
        self._heard += 1

    @property
    def heard(self) -> int:
        """Number of the frame that the next code belongs to, if no frame is drawn before it comes."""
        return self._heard

    def recent_mean(self) -> Tensor:
        """(C,) mean of the frames just before the next, in units; before the first frame, of the past drawn for it."""
        return self._pose.mean(dim=0) * self._model.std + self._model.mean

    def next(self) -> Tensor:
        """The next frame (C,) in units. Frames whose sound has not been heard are drawn without it."""
        if not len(self._waiting):
            self._draw()
        pose, self._waiting = self._waiting[0], self._waiting[1:]
        self.frame += 1
        return pose * self._model.std + self._model.mean

    def state(self) -> State:
        """All that the frames to come depend on, beside the sound to come."""
        frames = sorted(self._sound)
        codes = [self._sound[frame] for frame in frames]
        return {
            "seed": self.seed,
            "frame": self.frame,
            "temperature": self.temperature,
            "heard": self._heard,
            "past": self._past.clone(),
            "pose": self._pose.clone(),
            "waiting": self._waiting.clone(),
            "sound": torch.stack(codes) if codes else torch.zeros(0, self._config.sound_dim),
            "sound_frames": torch.tensor(frames, dtype=torch.int64),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state` returned, in a stream of the same models.

        Raises:
            ShapeError: something is missing or of another shape; the stream stays as it was.
        """
        n_sound = len(state["sound_frames"]) if "sound_frames" in state else 0
        n_waiting = len(state["waiting"]) if "waiting" in state else 0
        shapes: dict[str, tuple[int, ...]] = {
            "past": tuple(self._past.shape),
            "pose": tuple(self._pose.shape),
            "waiting": (n_waiting, self._pose.shape[1]),
            "sound": (n_sound, self._config.sound_dim),
            "sound_frames": (n_sound,),
        }
        for name in (*shapes, "seed", "frame", "temperature", "heard"):
            if name not in state:
                raise ShapeError(f"state of a motion stream: '{name}' is missing")
            if name in shapes and tuple(state[name].shape) != shapes[name]:
                found = tuple(state[name].shape)
                raise ShapeError(f"state of a motion stream: '{name}' has shape {found}, expected {shapes[name]}")
        self.temperature = float(state["temperature"])
        self.seed, self.frame, self._heard = int(state["seed"]), int(state["frame"]), int(state["heard"])
        self._past, self._pose = state["past"].clone(), state["pose"].clone()
        self._waiting = state["waiting"].clone()
        self._sound = dict(zip(state["sound_frames"].tolist(), state["sound"].clone().unbind(), strict=True))

    @torch.no_grad()
    def _draw(self) -> None:
        """The block that begins with the next frame."""
        config, n_seen = self._config, self._model.config.context_frames
        frames = range(self.frame - config.context_frames, self.frame + config.block_frames)
        nothing = torch.zeros(config.sound_dim)
        heard = [frame <= self.frame and frame in self._sound for frame in frames]
        codes = [self._sound[frame] if known else nothing for frame, known in zip(frames, heard, strict=True)]
        poses = torch.cat([self._pose, self._pose.new_zeros(config.block_frames, self._pose.shape[1])])
        seen = torch.tensor([frame < self.frame for frame in frames])
        foretold = self._encoder.guided(
            self._past[None],
            torch.stack(codes)[None],
            torch.tensor(heard)[None].float(),
            poses[None],
            seen[None].float(),
        )
        block = foretold.sample(self._noise(torch.arange(self.frame, self.frame + config.block_frames))[None])[0]
        path = torch.cat([self._past, block], dim=1)
        self._waiting = self._model.decoder(path[None, :, -config.block_frames - n_seen :])[0, -config.block_frames :]
        self._past = path[:, -config.past_frames :].clone()
        self._pose = torch.cat([self._pose, self._waiting])[-config.context_frames :]
        self._sound = {frame: code for frame, code in self._sound.items() if frame >= frames.start}

    def _noise(self, frames: Tensor) -> Tensor:
        """(L, T) of the frames with these numbers (T,), times the temperature."""
        return self.temperature * frame_noise(self.seed, frames, self._model.config.latent_dim)
