"""Joint fit of one face over a whole clip: identity, focal length, expression, pose and eye closure (paper eq. 1).

Three stages of Gauss-Newton. The first looks at frames spread over the clip and finds what all frames share: identity,
focal length, and where this person's landmarks differ from the model's. The second keeps those and finds pose and
expression of every frame together from robust reprojection errors of MediaPipe's landmarks, tied in time (second
differences of the pose, first of the expression), expressions in the box [0, 1] and sparse. The third, where there are
pictures, moves the poses until the pictures agree (:mod:`dfanerf_rt.face.fit_photometric`), and finds the expressions
again about those poses. Because expressions cost what they
weigh while identity is paid once, what is always there becomes identity, and what comes and goes expression.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from dfanerf_rt.errors import ShapeError
from dfanerf_rt.face.arkit import ARKIT_INDEX
from dfanerf_rt.face.fit_normal import (
    N_POSE,
    REFERENCE_WIDTH_PX,
    Observation,
    Unknowns,
    View,
    data_cost,
    fit_offset,
    normal_equations,
    residuals,
)
from dfanerf_rt.face.fit_photometric import PhotometricConfig, Pictures, PoseByPictures
from dfanerf_rt.face.fit_points import FitPoints, expression_change_std, expression_cost
from dfanerf_rt.face.fit_pose import eye_closure, pose_by_points
from dfanerf_rt.face.fit_solve import free_in_box, smoothness, solve_in_time, solve_shared
from dfanerf_rt.face.landmarks import N_MEDIAPIPE, landmarks_68
from dfanerf_rt.face.model import FaceModel
from dfanerf_rt.face.track import Track
from dfanerf_rt.threads import one_thread

BLINKS = (ARKIT_INDEX["eyeBlinkLeft"], ARKIT_INDEX["eyeBlinkRight"])
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class FitConfig:
    """Weights of the fit. Standard deviations are what a term finds normal; pixels are at a width of 512."""

    shared_frames: int = 160
    shared_steps: int = 16
    frame_steps: int = 10
    chunk_frames: int = 600
    chunk_overlap_frames: int = 24
    data_strength: float = 0.5
    """Landmarks of one frame err together: their evidence counts this much of independent ones with 1 px of error."""
    scale_px: float = 3.0
    """Errors beyond this are outliers."""
    first_scale_px: float = 12.0
    turn_std_rad: float = 0.0015
    """Second difference of the pose's rotation, a frame."""
    move_std_m: tuple[float, float, float] = (3e-4, 3e-4, 4e-4)
    """Second difference of the translation, a frame; depth is seen worst."""
    change_std: float = 1.0
    """Factor on the usual change of expressions within a frame."""
    sparsity: float = 1.5
    """Price of a whole expression."""
    expression_std: float = 1.5
    blink_std: float = 0.12
    """How closely eyeBlink follows the lids' opening."""
    identity_std: float = 1.0
    offset_std_m: float = 7e-4
    offset_steps: int = 3
    """Further steps of the first stage, in which identity is held and the personal offsets are found."""
    fov_deg: float = 26.0
    fov_log_std: float = 0.25
    """One view tells little of the focal length: it stays near this field of view of the picture's shorter side."""
    fov_range_deg: tuple[float, float] = (15.0, 50.0)
    photometric: PhotometricConfig | None = field(default_factory=PhotometricConfig)
    """Of the third stage; None leaves the poses as the landmarks have them."""


@dataclass(frozen=True)
class FitResult:
    """The track, the camera, and how well they explain the landmarks."""

    track: Track
    focal_px: float
    view: View
    error_px: Tensor
    """(T, M) distance of the fitted landmarks from those seen, pixels at a width of 512; NaN without a face."""
    model_error_px: Tensor
    """(T, M) the same for the face model alone, without this person's landmark offsets, which the track leaves out."""

    @property
    def median_error_px(self) -> float:
        """Median over all landmarks of all tracked frames."""
        return float(self.error_px[~self.error_px.isnan()].median())


def fit_track(
    model: FaceModel,
    landmarks: np.ndarray,
    view: View,
    short_side_px: float | None = None,
    config: FitConfig | None = None,
    progress: Progress | None = None,
    pictures: Pictures | None = None,
) -> FitResult:
    """Fit a face model to the landmarks of a clip, and its poses to the pictures.

    Args:
        model: the 3DMM.
        landmarks: (T, 478, 3) MediaPipe landmarks in pixels; NaN in frames where no face was found.
        view: principal point and width of the picture, pixels.
        short_side_px: shorter side of the whole picture at this scale, where ``view`` is a crop of it.
        config: weights.
        progress: called with a share in [0, 1] and a word.
        pictures: gives the T pictures, of ``view``; without them the poses are those of the landmarks.

    Raises:
        ShapeError: landmarks of another shape, or no frame with a face.
        FaceModelError: the model knows too few of the landmarks.
    """
    config = config or FitConfig()
    if landmarks.ndim != 3 or landmarks.shape[1:] != (N_MEDIAPIPE, 3):
        raise ShapeError(f"landmarks have shape {landmarks.shape}, expected (T, {N_MEDIAPIPE}, 3)")
    trusted = np.isfinite(landmarks).all((1, 2))
    if not trusted.any():
        raise ShapeError("no frame has landmarks")
    fitter = _Fitter(model, landmarks, trusted, view, short_side_px or view.width, config, progress or _silent)
    with torch.no_grad(), one_thread():
        return fitter.run(pictures)


def _silent(share: float, message: str) -> None:
    del share, message


class _Fitter:
    def __init__(
        self,
        model: FaceModel,
        landmarks: np.ndarray,
        trusted: np.ndarray,
        view: View,
        short_side_px: float,
        config: FitConfig,
        progress: Progress,
    ) -> None:
        self.model, self.view, self.config, self.progress = model, view, config, progress
        self.points = FitPoints.of(model)
        self.trusted = torch.from_numpy(trusted)
        self.landmarks = _fill(landmarks, trusted)
        seen = torch.from_numpy(self.landmarks[:, self.points.index.numpy(), :2]).float()
        self.seen = Observation(seen, self.trusted.float())
        self.closure = eye_closure(self.landmarks, trusted)
        self.focal_guess = 0.5 * short_side_px / math.tan(math.radians(config.fov_deg) / 2)
        self.log_focal_guess = math.log(self.focal_guess)
        self.log_focal_range = [
            math.log(0.5 * short_side_px / math.tan(math.radians(degrees) / 2))
            for degrees in config.fov_range_deg[::-1]
        ]
        self.cost = (config.sparsity * expression_cost()).double()
        self.pose_weight = torch.tensor(
            [config.turn_std_rad**-2] * 3 + [std**-2 for std in config.move_std_m], dtype=torch.float64
        )
        self.expression_weight = (config.change_std * expression_change_std()).double() ** -2

    def run(self, pictures: Pictures | None) -> FitResult:
        whole = self._fit_frames(self._fit_shared(self._start()), self._within(0.2, 0.5))
        photometric = self.config.photometric
        if pictures is not None and photometric is not None:
            by_pictures = PoseByPictures(self.model, whole, self.trusted, self.view, self.pose_weight, photometric)
            report = self._within(0.5, 0.9)
            whole.pose = by_pictures.refine(pictures, lambda share: report(share, "poses to the pictures"))
            whole = self._fit_frames(whole, self._within(0.9, 1.0), hold_pose=True)
        return self._result(whole)

    def _within(self, start: float, end: float) -> Progress:
        return lambda share, message: self.progress(start + (end - start) * share, message)

    def _start(self) -> Unknowns:
        points = self.points
        pose = pose_by_points(points, points.mean, self.seen.points, self.trusted, self.focal_guess, self.view)
        expression = torch.zeros(len(pose), points.exp_basis.shape[0])
        expression[:, BLINKS] = self.closure
        return Unknowns(
            identity=torch.zeros(len(points.id_basis)),
            offset=torch.zeros_like(points.mean),
            log_focal=torch.tensor(self.log_focal_guess),
            pose=pose,
            expression=expression,
        )

    def _fit_shared(self, start: Unknowns) -> Unknowns:
        """Identity, offset and focal length from frames spread over the clip."""
        config = self.config
        tracked = torch.nonzero(self.trusted)[:, 0]
        chosen = tracked[torch.linspace(0, len(tracked) - 1, min(len(tracked), config.shared_frames)).round().long()]
        now, seen, closure = start.frames(chosen), self.seen.frames(chosen), self.closure[chosen]
        damping = 1e-2
        for step in range(config.shared_steps + config.offset_steps):
            self.progress(0.2 * step / (config.shared_steps + config.offset_steps), "identity and camera")
            # errors of the first guess are no outliers: the robust scale shrinks to its value over some steps
            scale_px = max(config.scale_px, config.first_scale_px * 0.75**step)
            # identity has said its part before the offsets, or it would drift towards whatever suits them
            held = step >= config.shared_steps
            now, damping = self._shared_step(now, seen, closure, scale_px, damping, held)
            if held:
                now.offset = fit_offset(
                    self.points, now, seen, self.view, config.scale_px, config.data_strength, config.offset_std_m
                )
        shape = self.points.mean + now.offset + torch.einsum("k,kmi->mi", now.identity, self.points.id_basis)
        pose = pose_by_points(self.points, shape, self.seen.points, self.trusted, float(now.log_focal.exp()), self.view)
        expression = _spread(chosen, now.expression, len(pose))
        expression[:, BLINKS] = self.closure
        return Unknowns(now.identity, now.offset, now.log_focal, pose, expression)

    def _shared_step(
        self, now: Unknowns, seen: Observation, closure: Tensor, scale_px: float, damping: float, held: bool
    ) -> tuple[Unknowns, float]:
        """One Levenberg-Marquardt step of frames that are independent of each other, and what they share."""
        config = self.config
        system = normal_equations(self.points, now, seen, self.view, scale_px, config.data_strength, True)
        self._add_priors(system.frame, system.frame_gradient, now, closure)
        # identity and camera are paid once for each frame, or a long clip would silence their priors
        share = len(closure) * config.data_strength
        assert system.shared is not None and system.shared_gradient is not None  # asked for above
        diagonal = system.shared.diagonal()
        diagonal[:-1] += share / config.identity_std**2
        system.shared_gradient[:-1] += share * now.identity.double() / config.identity_std**2
        diagonal[-1] += share / config.fov_log_std**2
        system.shared_gradient[-1] += share * (float(now.log_focal) - self.log_focal_guess) / config.fov_log_std**2
        if held:
            diagonal += 1e12
        free = free_in_box(now.expression, system.frame_gradient)
        frame_diagonal = system.frame.diagonal(dim1=1, dim2=2)
        undamped = frame_diagonal.clone(), diagonal.clone()
        before = self._shared_cost(now, seen, closure, scale_px)
        for _ in range(6):
            frame_diagonal.copy_(undamped[0] * (1 + damping) + 1e-3)
            diagonal.copy_(undamped[1] * (1 + damping))
            frame_step, shared_step = solve_shared(system, free)
            tried = Unknowns(
                identity=(now.identity + shared_step[:-1].float()).clamp(-4.0, 4.0),
                offset=now.offset,
                log_focal=(now.log_focal + shared_step[-1].float()).clamp(*self.log_focal_range),
                pose=now.pose + frame_step[:, :N_POSE].float(),
                expression=(now.expression + frame_step[:, N_POSE:].float()).clamp(0.0, 1.0),
            )
            if self._shared_cost(tried, seen, closure, scale_px) < before:
                return tried, max(damping / 4, 1e-5)
            damping *= 5
        return now, damping

    def _shared_cost(self, now: Unknowns, seen: Observation, closure: Tensor, scale_px: float) -> float:
        config = self.config
        share = len(closure) * config.data_strength
        focal_error = float(now.log_focal) - self.log_focal_guess
        prior = float((now.identity.double() ** 2).sum()) / config.identity_std**2
        prior += (focal_error / config.fov_log_std) ** 2
        return self._frames_cost(now, seen, closure, scale_px) + 0.5 * share * prior

    def _fit_frames(self, start: Unknowns, progress: Progress, hold_pose: bool = False) -> Unknowns:
        """Pose and expression of every frame, in overlapping chunks of a long clip."""
        config, n_frames = self.config, len(start.pose)
        pose, expression = start.pose.clone(), start.expression.clone()
        n_chunks = max(1, math.ceil((n_frames - config.chunk_overlap_frames) / config.chunk_frames))
        bounds = [round(n_frames * i / n_chunks) for i in range(n_chunks + 1)]
        for chunk, (first, last) in enumerate(pairwise(bounds)):
            low, high = max(0, first - config.chunk_overlap_frames), min(n_frames, last + config.chunk_overlap_frames)
            part = slice(low, high)
            fitted = self._fit_chunk(
                start.frames(part),
                self.seen.frames(part),
                self.closure[part],
                partial(self._report_chunk, progress, chunk, n_chunks),
                hold_pose,
            )
            pose[first:last] = fitted.pose[first - low : last - low]
            expression[first:last] = fitted.expression[first - low : last - low]
        return Unknowns(start.identity, start.offset, start.log_focal, pose, expression)

    @staticmethod
    def _report_chunk(progress: Progress, chunk: int, n_chunks: int, share: float) -> None:
        progress((chunk + share) / n_chunks, "pose and expression")

    def _fit_chunk(
        self,
        now: Unknowns,
        seen: Observation,
        closure: Tensor,
        report: Callable[[float], None],
        hold_pose: bool,
    ) -> Unknowns:
        config = self.config
        cost = self._cost(now, seen, closure)
        for step in range(config.frame_steps):
            report(step / config.frame_steps)
            system = normal_equations(self.points, now, seen, self.view, config.scale_px, config.data_strength, False)
            hessian, gradient = system.frame, system.frame_gradient
            self._add_priors(hessian, gradient, now, closure)
            hessian.diagonal(dim1=1, dim2=2)[:, :N_POSE] += 1e-3
            gradient[:, :N_POSE] += smoothness(now.pose.double(), self.pose_weight, 2)[1]
            gradient[:, N_POSE:] += smoothness(now.expression.double(), self.expression_weight, 1)[1]
            free = free_in_box(now.expression, gradient)
            free[:, :N_POSE] &= not hold_pose
            direction = solve_in_time(hessian, gradient, free, self.pose_weight, self.expression_weight).float()
            for length in (1.0, 0.5, 0.25, 0.1):
                pose = now.pose + length * direction[:, :N_POSE]
                expression = (now.expression + length * direction[:, N_POSE:]).clamp(0.0, 1.0)
                tried = Unknowns(now.identity, now.offset, now.log_focal, pose, expression)
                tried_cost = self._cost(tried, seen, closure)
                if tried_cost < cost:
                    break
            else:
                return now
            settled = cost - tried_cost < 3e-4 * cost
            now, cost = tried, tried_cost
            if settled:
                break
        return now

    def _add_priors(self, hessian: Tensor, gradient: Tensor, now: Unknowns, closure: Tensor) -> None:
        """Add sparsity, rest and blinks to each frame's normal equations."""
        config, expression = self.config, now.expression.double()
        diagonal = hessian.diagonal(dim1=1, dim2=2)
        diagonal[:, N_POSE:] += config.expression_std**-2
        gradient[:, N_POSE:] += expression / config.expression_std**2 + self.cost
        for side, row in enumerate(BLINKS):
            diagonal[:, N_POSE + row] += config.blink_std**-2
            gradient[:, N_POSE + row] += (expression[:, row] - closure[:, side].double()) / config.blink_std**2

    def _frames_cost(self, now: Unknowns, seen: Observation, closure: Tensor, scale_px: float) -> float:
        """Cost of the frames, each on its own."""
        config, expression = self.config, now.expression.double()
        residual = residuals(self.points, now, seen, self.view)
        total = data_cost(self.points, residual, seen, scale_px, config.data_strength).double().sum()
        total += (self.cost * expression).sum() + 0.5 * (expression**2).sum() / config.expression_std**2
        total += 0.5 * ((expression[:, BLINKS] - closure.double()) ** 2).sum() / config.blink_std**2
        return float(total)

    def _cost(self, now: Unknowns, seen: Observation, closure: Tensor) -> float:
        """Cost of successive frames, tied in time."""
        total = self._frames_cost(now, seen, closure, self.config.scale_px)
        total += float(smoothness(now.pose.double(), self.pose_weight, 2)[0])
        return total + float(smoothness(now.expression.double(), self.expression_weight, 1)[0])

    def _result(self, whole: Unknowns) -> FitResult:
        model_only = Unknowns(
            whole.identity, torch.zeros_like(whole.offset), whole.log_focal, whole.pose, whole.expression
        )
        error, model_error = (
            residuals(self.points, unknowns, self.seen, self.view)
            .norm(dim=-1)
            .masked_fill(~self.trusted[:, None], math.nan)
            for unknowns in (whole, model_only)
        )
        track = Track(
            identity=whole.identity,
            expression=whole.expression,
            head_pose=whole.pose,
            landmarks=self.model.landmarks(whole.identity, whole.expression).float(),
            landmarks_px=torch.from_numpy(landmarks_68(self.landmarks)).float(),
            eye_closure=self.closure,
            confidence=self.trusted.float(),
        )
        return FitResult(track, float(whole.log_focal.exp()), self.view, error, model_error)


def _fill(landmarks: np.ndarray, trusted: np.ndarray) -> np.ndarray:
    """Landmarks of frames without a face, interpolated between those around them."""
    if trusted.all():
        return landmarks
    frames = np.flatnonzero(trusted)
    filled = landmarks.copy()
    after = np.searchsorted(frames, np.arange(len(landmarks))).clip(0, len(frames) - 1)
    for frame in np.flatnonzero(~trusted):
        right, left = frames[after[frame]], frames[max(after[frame] - 1, 0)]
        share = 0.0 if right == left else float(np.clip((frame - left) / (right - left), 0.0, 1.0))
        filled[frame] = (1 - share) * landmarks[left] + share * landmarks[right]
    return filled


def _spread(chosen: Tensor, values: Tensor, n_frames: int) -> Tensor:
    """Each frame takes the values (S, n) of the chosen frame nearest to it."""
    distance = (torch.arange(n_frames)[:, None] - chosen[None, :]).abs()
    return values[distance.argmin(1)].clone()


__all__ = ["REFERENCE_WIDTH_PX", "FitConfig", "FitResult", "View", "fit_track"]
