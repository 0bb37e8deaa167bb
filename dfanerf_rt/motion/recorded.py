"""Head pose and blinks replayed from the clip the avatar was made of. Nothing here is generated."""

from __future__ import annotations

import torch

from dfanerf_rt.errors import AvatarError

EDGE_FRACTION = 0.25
"""The loop turns somewhere in this first and last part of the recording."""
PASS_FRAMES = 25
"""In which head and eyes reach another place of the loop."""


class RecordedMotion:
    """Plays the recorded head pose and eye codes forward, then backward, and so on.

    The loop turns where the head is nearly still and the eyes look as they mostly do, so that no blink is cut in half
    and no movement bounces. The only state is :attr:`position`, but while :meth:`pass_to` is under way.

    Args:
        head_pose: (T, 6) h, rotation vector in radians and translation in metres.
        eye_code: (T, 16) f_e.
        start: frames into the loop at which to begin.

    Raises:
        AvatarError: the two are empty, misshapen or of different length.
    """

    def __init__(self, head_pose: torch.Tensor, eye_code: torch.Tensor, start: int = 0) -> None:
        _check(head_pose, eye_code)
        self.first, self.last = turning_frames(head_pose, eye_code)
        self._head_pose = head_pose.detach().to(torch.float32).cpu()
        self._eye_code = eye_code.detach().to(torch.float32).cpu()
        self.position = start
        """Frames played since the beginning of the loop."""
        self._shown = self._at(start)
        self._away = tuple(torch.zeros_like(part) for part in self._shown)
        self._passing = 0

    @property
    def period(self) -> int:
        """Frames until the loop is where it began."""
        return max(2 * (self.last - self.first), 1)

    def frame(self, position: int) -> int:
        """Index of the recorded frame that is shown at ``position``."""
        there = position % self.period
        return self.first + min(there, self.period - there) if self.last > self.first else self.first

    def hear(self, code: torch.Tensor) -> None:
        """Nothing: what was recorded does not follow other sound."""

    def next(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The head pose (6,) and eye code (16,) of the next frame."""
        wanted = self._at(self.position)
        self.position += 1
        if not self._passing:
            self._shown = wanted
            return wanted
        self._passing -= 1
        left = self._passing / PASS_FRAMES
        left *= left * (3.0 - 2.0 * left)
        head_pose, eye_code = (there + left * away for there, away in zip(wanted, self._away, strict=True))
        self._shown = head_pose, eye_code
        return self._shown

    def pass_to(self, position: int) -> None:
        """Go on at another place of the loop, to which head and eyes pass over within a second."""
        self.position = position
        self._away = tuple(shown - there for shown, there in zip(self._shown, self._at(position), strict=True))
        self._passing = PASS_FRAMES

    def _at(self, position: int) -> tuple[torch.Tensor, torch.Tensor]:
        frame = self.frame(position)
        return self._head_pose[frame], self._eye_code[frame]


class StillMotion:
    """One recorded frame for ever: the head pose and eyes nearest to what they mostly are.

    Args and errors as of :class:`RecordedMotion`.
    """

    def __init__(self, head_pose: torch.Tensor, eye_code: torch.Tensor) -> None:
        _check(head_pose, eye_code)
        frame = int((_unusual(head_pose) + _unusual(eye_code)).argmin())
        self._still = head_pose[frame].detach().float().cpu(), eye_code[frame].detach().float().cpu()

    def hear(self, code: torch.Tensor) -> None:
        """Nothing: it is still."""

    def next(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The head pose (6,) and eye code (16,), always the same."""
        return self._still


def turning_frames(head_pose: torch.Tensor, eye_code: torch.Tensor) -> tuple[int, int]:
    """First and last frame of the loop: the calmest ones in the first and the last quarter of the recording."""
    n_frames = len(head_pose)
    if n_frames < 3:
        return 0, n_frames - 1
    unrest = _speed(head_pose) + _speed(eye_code) + _unusual(eye_code)
    edge = max(int(n_frames * EDGE_FRACTION), 1)
    return int(unrest[:edge].argmin()), n_frames - edge + int(unrest[-edge:].argmin())


def _speed(track: torch.Tensor) -> torch.Tensor:
    """(T,) change to the neighbouring frames, in units of its mean."""
    step = torch.linalg.vector_norm(track.float().diff(dim=0), dim=1)
    around = torch.cat([step[:1], step]) + torch.cat([step, step[-1:]])
    return around / around.mean().clamp_min(1e-9)


def _unusual(track: torch.Tensor) -> torch.Tensor:
    """(T,) distance from the median frame, in units of its mean."""
    track = track.float()
    spread = track.std(dim=0, correction=0).clamp_min(1e-9)
    distance = torch.linalg.vector_norm((track - track.median(dim=0).values) / spread, dim=1)
    return distance / distance.mean().clamp_min(1e-9)


def _check(head_pose: torch.Tensor, eye_code: torch.Tensor) -> None:
    found = tuple(head_pose.shape), tuple(eye_code.shape)
    if head_pose.ndim != 2 or eye_code.ndim != 2 or head_pose.shape[1] != 6 or not 0 < len(head_pose) == len(eye_code):
        raise AvatarError(f"recorded motion has shapes {found[0]} and {found[1]}, expected (T, 6) and (T, 16)")
