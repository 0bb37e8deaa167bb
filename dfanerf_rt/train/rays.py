"""Which pixels a training step looks at, and the rays through them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageFilter

from dfanerf_rt.clip.format import Clip

EYES = slice(36, 48)
MOUTH = slice(48, 68)


@dataclass(frozen=True)
class SamplingConfig:
    """How the rays of a frame are spread over the picture; the rest falls on the person."""

    mouth_share: float = 0.25
    eyes_share: float = 0.1
    anywhere_share: float = 0.1
    margin: float = 0.3
    """Boxes of mouth and eyes are enlarged by this share of their size on each side."""
    patch_px: int = 12
    """Side of the square patch that a step looks at as a whole."""
    patch_mouth_share: float = 0.35
    patch_eyes_share: float = 0.15
    """Share of the patches that lie about the mouth and the eyes; the others have their middle on the person."""
    closed_eyes_share: float = 0.25
    """So much more, of rays and of patches, lies about the eyes where they are closed: a clip shows lids seldom."""


class FrameStore:
    """All training frames in memory, as bytes, with the pixels that belong to each region.

    Args:
        clip: the prepared clip.
        indices: the frames to hold.
        config: how rays are spread.
        moving: (H, W) bool, where the background changes over time; nowhere by default.
        device: where everything is held.
        eyes_trusted: whether the track says when the eyes are closed; dark glasses hide it.
    """

    def __init__(
        self,
        clip: Clip,
        indices: range,
        config: SamplingConfig,
        moving: np.ndarray | None = None,
        device: torch.device | str = "cpu",
        eyes_trusted: bool = True,
    ) -> None:
        self.config = config
        self.indices = indices
        self.width, self.height = clip.meta.width, clip.meta.height
        self.pictures = torch.from_numpy(np.stack([clip.frame(index) for index in indices]))
        self.mattes = torch.from_numpy(np.stack([clip.alpha(index) for index in indices]))
        self.background = torch.from_numpy(clip.background().copy()).float() / 255.0
        self.moving = None if moving is None or not moving.any() else torch.from_numpy(moving).to(device)
        self.person = [self._dilated(matte).to(device) for matte in self.mattes]
        landmarks = clip.track.landmarks_px[indices.start : indices.stop]
        self.boxes = {"mouth": self._boxes(landmarks[:, MOUTH]), "eyes": self._boxes(landmarks[:, EYES])}
        closure = clip.track.eye_closure[indices.start : indices.stop].amax(1).clamp(0.0, 1.0)
        self.closure = closure * eyes_trusted
        """(T,) how far the more closed eye of a frame is closed, on the CPU; 0 where that is not known."""
        meta = clip.meta
        columns = (torch.arange(self.width) + 0.5 - meta.cx) / meta.focal_px
        rows = (torch.arange(self.height) + 0.5 - meta.cy) / meta.focal_px
        grid = torch.stack(torch.broadcast_tensors(columns[None, :], rows[:, None], torch.ones(())), dim=-1)
        self.directions = torch.nn.functional.normalize(grid, dim=-1).reshape(-1, 3)
        for name in ("pictures", "mattes", "background", "directions"):
            setattr(self, name, getattr(self, name).to(device))
        self.boxes = {name: boxes.to(device) for name, boxes in self.boxes.items()}
        self.device = self.pictures.device

    def __len__(self) -> int:
        return len(self.indices)

    def sample(self, frame: int, count: int, generator: torch.Generator) -> torch.Tensor:
        """(count,) flat pixel indices of one frame; the generator is of the store's device."""
        config = self.config
        eyes_share = config.eyes_share + config.closed_eyes_share * float(self.closure[frame])
        n_mouth, n_eyes = int(count * config.mouth_share), int(count * eyes_share)
        n_anywhere = int(count * config.anywhere_share)
        person = self.person[frame]
        n_person = count - n_mouth - n_eyes - n_anywhere
        return torch.cat(
            [
                self._in_box(self.boxes["mouth"][frame], n_mouth, generator),
                self._in_box(self.boxes["eyes"][frame], n_eyes, generator),
                torch.randint(self.width * self.height, (n_anywhere,), generator=generator, device=self.device),
                person[torch.randint(len(person), (n_person,), generator=generator, device=self.device)].long(),
            ]
        )

    def patch(self, frame: int, generator: torch.Generator) -> torch.Tensor:
        """(patch_px^2,) flat pixel indices of a square of one frame, row by row; generator as for :meth:`sample`."""
        config, side, device = self.config, min(self.config.patch_px, self.width, self.height), self.device
        eyes_share = config.patch_eyes_share + config.closed_eyes_share * float(self.closure[frame])
        chance = float(torch.rand((), generator=generator, device=device))
        if chance < config.patch_mouth_share:
            middle = self._in_box(self.boxes["mouth"][frame], 1, generator)
        elif chance < config.patch_mouth_share + eyes_share:
            middle = self._in_box(self.boxes["eyes"][frame], 1, generator)
        else:
            person = self.person[frame]
            middle = person[torch.randint(len(person), (1,), generator=generator, device=device)].long()
        row = (middle // self.width - side // 2).clamp(0, self.height - side)
        column = (middle % self.width - side // 2).clamp(0, self.width - side)
        steps = torch.arange(side, device=device)
        return ((steps + row)[:, None] * self.width + steps + column).reshape(-1)

    def targets(self, frame: int, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Colour (n, 3), matte (n,) and background (n, 3) at flat pixel indices, in [0, 1].

        Where the background moves and nobody is before it, it is what the picture shows: an empty field is right there.
        """
        colour = self.pictures[frame].view(-1, 3)[pixels].float() / 255.0
        matte = self.mattes[frame].view(-1)[pixels].float() / 255.0
        background = self.background.view(-1, 3)[pixels]
        if self.moving is not None:
            elsewhere = self.moving.view(-1)[pixels] & (matte < 1.0 / 255.0)
            background = torch.where(elsewhere[:, None], colour, background)
        return colour, matte, background

    def _dilated(self, matte: torch.Tensor) -> torch.Tensor:
        size = 2 * max(2, self.width // 64) + 1
        grown = Image.fromarray(matte.numpy()).filter(ImageFilter.MaxFilter(size))
        inside = np.flatnonzero(np.asarray(grown) > 8).astype(np.int32)
        if inside.size == 0:
            inside = np.arange(matte.numel(), dtype=np.int32)
        return torch.from_numpy(inside)

    def _boxes(self, points: torch.Tensor) -> torch.Tensor:
        low, high = points.amin(1), points.amax(1)
        margin = (high - low) * self.config.margin
        limit = torch.tensor([self.width - 1.0, self.height - 1.0])
        low, high = (low - margin).clamp_min(0).minimum(limit), (high + margin).clamp_min(0).minimum(limit)
        return torch.cat([low, high], dim=1)

    def _in_box(self, box: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
        place = box[:2] + torch.rand(count, 2, generator=generator, device=box.device) * (box[2:] - box[:2])
        return place[:, 1].long() * self.width + place[:, 0].long()
