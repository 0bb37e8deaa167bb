"""Head poses moved until the pictures agree with each other: the photometric stage of the fit.

Landmarks of one frame err together, by half a pixel and more, and all of that error becomes pose. The pictures know
better. Points are strewn over the skin of the fitted face; what they look like, averaged over the clip, is the
reference; and each frame's pose is moved until the frame shows the same under its points: Gauss-Newton with analytic
derivatives, as Lucas and Kanade (1981) align pictures, here by the rigid motion of a 3DMM. Pictures are band-passed, so
that light counts little, and compared up to a gain and an offset. Expressions stay as the landmarks have them, and
points that a frame's expression moves count less in that frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dfanerf_rt.face.fit_normal import Unknowns, View, left_jacobian
from dfanerf_rt.face.fit_solve import smoothness, solve_in_time
from dfanerf_rt.face.model import FaceModel
from dfanerf_rt.face.rotation import rotation_matrix

Pictures = Callable[[], Iterable[np.ndarray]]
"""Gives the pictures of a clip, (H, W, 3) uint8 sRGB, from the first one each time it is called."""
BLOCK_FRAMES = 16
SKIN = ("skin", "brows")
"""Regions of the face model that points are strewn on."""


@dataclass(frozen=True)
class PhotometricConfig:
    """Settings of the photometric stage; pixels are those of a picture ``width_px`` wide."""

    width_px: int = 256
    """Pictures are scaled down to this before they are compared."""
    fine_px: float = 0.7
    coarse_px: float = 3.0
    """Standard deviations of the two Gaussians whose difference is compared: pores, brows and the edges of the nose.
    What is coarser is shade, which stays with the lamps while the head turns."""
    n_points: int = 4000
    n_independent: float = 400.0
    """Neighbouring points see the same: all of them together are the evidence of this many."""
    still_m: float = 1e-3
    """Points that the expression of a frame moves by this, away from where they usually are, count half in it."""
    turn_std_rad: float = 0.008
    move_std_m: tuple[float, float, float] = (7e-4, 7e-4, 3e-3)
    """How far the landmarks' pose may be from the truth."""
    reference_frames: int = 400
    rounds: int = 2
    """How often the reference is made again of frames that lie better."""
    reference_steps: int = 6
    frame_steps: int = 8
    chunk_frames: int = 600
    overlap_frames: int = 24


@dataclass(frozen=True)
class SkinPoints:
    """P points on the skin of a face that looks at the camera; metres, head coordinates, float32."""

    rest: Tensor
    """(P, 3) without expression."""
    exp_basis: Tensor
    """(52, P, 3)."""
    normal: Tensor
    """(P, 3) unit length, outwards."""
    usual: Tensor
    """(P, 3) with the clip's mean expression."""

    @staticmethod
    def on(model: FaceModel, unknowns: Unknowns, config: PhotometricConfig) -> SkinPoints:
        """Strew points evenly over the skin and brows of the fitted face, where they face forwards."""
        regions = [index for index, name in enumerate(model.region_names) if name in SKIN]
        is_skin = torch.isin(model.region, torch.tensor(regions or [0], dtype=model.region.dtype))
        corners = model.vertices(unknowns.identity, unknowns.expression.mean(0)).float()[model.faces]
        normal = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        area = normal.norm(dim=-1)
        normal = normal / area.clamp(min=1e-12)[:, None]
        used = is_skin[model.faces].all(1)
        away = corners.mean(1) - corners[used].mean((0, 1))
        normal = normal * torch.sign((normal * away)[used].sum())  # whichever way the mesh is wound
        area = area * used * (normal[:, 2] < -0.35)
        generator = torch.Generator().manual_seed(0)
        triangle = torch.multinomial(area, config.n_points, replacement=True, generator=generator)
        place = torch.rand(config.n_points, 2, generator=generator)
        place = torch.where(place.sum(1, keepdim=True) > 1, 1 - place, place)
        barycentric = torch.cat([1 - place.sum(1, keepdim=True), place], dim=1)
        mean, id_basis, exp_basis = model.point_bases(model.faces[triangle], barycentric)
        rest = mean + torch.einsum("k,kpi->pi", unknowns.identity, id_basis)
        usual = rest + torch.einsum("k,kpi->pi", unknowns.expression.mean(0), exp_basis)
        return SkinPoints(rest.float(), exp_basis.float(), normal[triangle], usual.float())


@dataclass(frozen=True)
class _Reference:
    """What the points look like: (P,) band-passed luma, and the noise of single pictures about it."""

    look: Tensor
    noise: float


@dataclass(frozen=True)
class _Frames:
    """Some frames, and what the landmarks know of them."""

    picture: Tensor
    """(T, 1, H, W) band-passed luma."""
    points: Tensor
    """(T, P, 3) the skin points with each frame's expression, head coordinates."""
    tracked: Tensor
    """(T, 6) pose by the landmarks."""
    weight: Tensor
    """(T, P) 0 where a point is not seen."""


class PoseByPictures:
    """The photometric stage for one clip."""

    def __init__(
        self,
        model: FaceModel,
        unknowns: Unknowns,
        trusted: Tensor,
        view: View,
        pose_weight: Tensor,
        config: PhotometricConfig,
    ) -> None:
        """Take over what the landmarks gave.

        Args:
            model: the 3DMM.
            unknowns: of all T frames, as the landmarks have them.
            trusted: (T,) bool, frames with a face; the others follow their neighbours.
            view: camera of the pictures that will be given.
            pose_weight: (6,) float64, price of a squared second difference of the pose.
            config: settings.
        """
        self.config, self.unknowns, self.trusted, self.pose_weight = config, unknowns, trusted, pose_weight
        self.points = SkinPoints.on(model, unknowns, config)
        self.scale = min(1.0, config.width_px / view.width)
        self.centre = torch.tensor([view.cx, view.cy]) * self.scale
        self.focal_px = float(unknowns.log_focal.exp()) * self.scale
        std = torch.tensor([config.turn_std_rad] * 3 + list(config.move_std_m), dtype=torch.float64)
        self.prior = std**-2

    def refine(self, pictures: Pictures, report: Callable[[float], None] = lambda share: None) -> Tensor:
        """(T, 6) poses by which the pictures agree. Where they would not agree better, the landmarks' own.

        Args:
            pictures: all T pictures of the clip; read twice.
            report: called with a share in [0, 1].
        """
        n_frames = len(self.unknowns.pose)
        known = torch.nonzero(self.trusted)[:, 0]
        count = min(len(known), self.config.reference_frames)
        chosen = known[torch.linspace(0, len(known) - 1, count).round().long()]
        wanted = set(chosen.tolist())
        seen = [picture for index, picture in enumerate(self._small(pictures)) if index in wanted]
        reference = self._reference(self._frames(seen, chosen), lambda share: report(0.4 * share))
        pose = self.unknowns.pose.clone()
        for first, last, low, shown in self._chunks(pictures, n_frames):
            part = torch.arange(low, low + len(shown))
            refined = self._fit(self._frames(shown, part), reference, self.pose_weight, self.config.frame_steps)
            pose[first:last] = refined[first - low : last - low]
            report(0.4 + 0.6 * last / n_frames)
        return pose

    def _small(self, pictures: Pictures) -> Iterator[np.ndarray]:
        """Luma of each picture, at most ``width_px`` wide, uint8."""
        import cv2

        for picture in pictures():
            luma = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
            if self.scale < 1.0:
                size = (round(luma.shape[1] * self.scale), round(luma.shape[0] * self.scale))
                luma = cv2.resize(luma, size, interpolation=cv2.INTER_AREA)
            yield luma

    def _chunks(self, pictures: Pictures, n_frames: int) -> Iterator[tuple[int, int, int, list[np.ndarray]]]:
        """Stretches of the clip: (first, last, low, pictures), the pictures being those from ``low`` on, which lies
        before ``first`` so that stretches join."""
        length, overlap = self.config.chunk_frames, self.config.overlap_frames
        kept: list[np.ndarray] = []
        low = first = 0
        for index, picture in enumerate(self._small(pictures)):
            kept.append(picture)
            if index + 1 == n_frames:
                break
            if index + 1 == first + length + overlap and n_frames - (first + length) > overlap:
                yield first, first + length, low, kept
                first += length
                kept, low = kept[-2 * overlap :], first - overlap
        yield first, n_frames, low, kept

    def _frames(self, seen: list[np.ndarray], numbers: Tensor) -> _Frames:
        import cv2

        config = self.config
        lumas = (luma.astype(np.float32) / 255 for luma in seen)
        passed = [
            cv2.GaussianBlur(x, (0, 0), config.fine_px) - cv2.GaussianBlur(x, (0, 0), config.coarse_px) for x in lumas
        ]
        picture = torch.from_numpy(np.stack(passed))[:, None]
        tracked = self.unknowns.pose[numbers]
        head = self.points.rest + torch.einsum("tk,kpi->tpi", self.unknowns.expression[numbers], self.points.exp_basis)
        _, camera, pixel = self._project(head, tracked)
        towards = -F.normalize(camera, dim=-1)
        normal = torch.einsum("tij,pj->tpi", rotation_matrix(tracked[:, :3]), self.points.normal)
        edge = torch.tensor([picture.shape[3], picture.shape[2]]) - 2.0
        inside = ((pixel > 2) & (pixel < edge)).all(-1)
        still = 1 / (1 + (head - self.points.usual).square().sum(-1) / config.still_m**2)
        weight = still * (normal * towards).sum(-1).clamp(min=0) * inside * self.trusted[numbers, None]
        return _Frames(picture, head, tracked, weight)

    def _project(self, head: Tensor, pose: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Points (T, P, 3) turned, in camera coordinates, and their pixels (T, P, 2)."""
        turned = torch.einsum("tij,tpj->tpi", rotation_matrix(pose[:, :3]), head)
        camera = turned + pose[:, None, 3:]
        return turned, camera, self.focal_px * camera[..., :2] / camera[..., 2:].clamp(min=0.05) + self.centre

    def _reference(self, frames: _Frames, report: Callable[[float], None]) -> _Reference:
        """The mean look of the points, made again as the poses get better."""
        pose = frames.tracked
        reference = self._averaged(frames, pose)
        for number in range(self.config.rounds):
            # these frames are not neighbours in time: each is on its own
            pose = self._fit(frames, reference, None, self.config.reference_steps, pose)
            reference = self._averaged(frames, pose)
            report((number + 1) / self.config.rounds)
        return reference

    def _averaged(self, frames: _Frames, pose: Tensor) -> _Reference:
        look = _looked_up(frames.picture, self._project(frames.points, pose)[2])
        weight = frames.weight
        total = weight.sum(1, keepdim=True).clamp(min=1e-6)
        look = look - (weight * look).sum(1, keepdim=True) / total
        contrast = ((weight * look.square()).sum(1, keepdim=True) / total).sqrt().clamp(min=1e-6)
        usual = contrast.median()
        look = look * (usual / contrast)
        median = look.median(0).values
        near = (look - median).clamp(-0.5 * usual, 0.5 * usual)
        mean = median + (weight * near).sum(0) / weight.sum(0).clamp(min=1e-6)
        noise = 1.4826 * float((look - mean)[weight > 0].abs().median())
        return _Reference(mean, max(noise, 1e-3))

    def _fit(
        self, frames: _Frames, reference: _Reference, in_time: Tensor | None, n_steps: int, start: Tensor | None = None
    ) -> Tensor:
        """Poses (T, 6) of least cost, tied in time with weights ``in_time`` (6,)."""
        pose = frames.tracked.clone() if start is None else start
        cost, hessian, gradient = self._system(frames, reference, in_time, pose)
        for _ in range(n_steps):
            if in_time is None:
                direction = -torch.linalg.solve(hessian, gradient)
            else:
                free, none = torch.ones(gradient.shape, dtype=torch.bool), torch.zeros(0)
                direction = solve_in_time(hessian, gradient, free, in_time, none)
            for length in (1.0, 0.5, 0.25):
                tried = pose + length * direction.float()
                found = self._system(frames, reference, in_time, tried)
                if found[0] < cost:
                    break
            else:
                break
            settled = cost - found[0] < 1e-4 * cost
            pose, (cost, hessian, gradient) = tried, found
            if settled:
                break
        return pose

    def _system(
        self, frames: _Frames, reference: _Reference, in_time: Tensor | None, pose: Tensor
    ) -> tuple[float, Tensor, Tensor]:
        """Cost, Hessian (T, 6, 6) without the coupling in time, and gradient (T, 6) with it; float64."""
        hessians, gradients, cost = [], [], 0.0
        for first in range(0, len(pose), BLOCK_FRAMES):
            part = slice(first, first + BLOCK_FRAMES)
            block = _Frames(frames.picture[part], frames.points[part], frames.tracked[part], frames.weight[part])
            block_cost, hessian, gradient = self._block(block, reference, pose[part])
            cost += block_cost
            hessians.append(hessian)
            gradients.append(gradient)
        hessian, gradient = torch.cat(hessians), torch.cat(gradients)
        away = (pose - frames.tracked).double()
        cost += 0.5 * float((self.prior * away.square()).sum())
        hessian.diagonal(dim1=1, dim2=2).add_(self.prior)
        gradient += self.prior * away
        if in_time is not None:
            rough, slope = smoothness(pose.double(), in_time, 2)
            cost += float(rough)
            gradient += slope
        return cost, hessian, gradient

    def _block(self, frames: _Frames, reference: _Reference, pose: Tensor) -> tuple[float, Tensor, Tensor]:
        turned, camera, pixel = self._project(frames.points, pose)
        look = _looked_up(frames.picture, pixel)
        right, down = (
            0.5 * (_looked_up(frames.picture, pixel + step) - _looked_up(frames.picture, pixel - step))
            for step in (torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]))
        )
        # gain and offset of each frame are solved for, and the derivative is what they leave over
        basis = torch.stack([reference.look, torch.ones_like(reference.look)], dim=1)
        residual = look - (basis @ _regression(basis, frames.weight, look[..., None]))[..., 0]
        scale = 2.0 * reference.noise
        unit = self.config.n_independent / self.config.n_points / reference.noise**2
        robust = frames.weight / (1 + (residual / scale).square())
        cost = 0.5 * unit * float((frames.weight * scale**2 * torch.log1p((residual / scale).square())).sum())
        per_metre = self.focal_px / camera[..., 2].clamp(min=0.05)
        slope = camera[..., :2] / camera[..., 2:].clamp(min=0.05)
        by_move = torch.stack([right, down, -(right * slope[..., 0] + down * slope[..., 1])], -1) * per_metre[..., None]
        by_turn = torch.linalg.cross(turned, by_move) @ left_jacobian(pose[:, :3])
        jacobian = torch.cat([by_turn, by_move], dim=-1)
        jacobian = jacobian - basis @ _regression(basis, robust, jacobian)
        weighted = jacobian * (unit * robust)[..., None]
        hessian = (weighted.transpose(1, 2) @ jacobian).double()
        gradient = torch.einsum("tpn,tp->tn", weighted, residual).double()
        return cost, hessian, gradient


def _regression(basis: Tensor, weight: Tensor, values: Tensor) -> Tensor:
    """(T, 2, n) by which ``basis`` (P, 2) explains ``values`` (T, P, n) best, with weights (T, P)."""
    weighted = basis * weight[..., None]
    normal = weighted.transpose(1, 2) @ basis + 1e-6 * torch.eye(2)
    return torch.linalg.solve(normal, weighted.transpose(1, 2) @ values)


def _looked_up(picture: Tensor, pixel: Tensor) -> Tensor:
    """(T, P) values of pictures (T, 1, H, W) at pixels (T, P, 2), bilinear; the centre of the first pixel is 0.5."""
    size = torch.tensor([picture.shape[3], picture.shape[2]])
    grid = (2 * pixel / size - 1)[:, None]
    return F.grid_sample(picture, grid, mode="bilinear", padding_mode="border", align_corners=False)[:, 0, 0]
