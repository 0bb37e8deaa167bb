"""Face landmarks in pictures by MediaPipe's face mesh, whose model lies inside its wheel (no network is needed)."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from dfanerf_rt.errors import ClipError
from dfanerf_rt.face.ibug import MEDIAPIPE_TO_IBUG

N_MEDIAPIPE = 478
MIN_FACE_PX = 32

EYE_RINGS = (
    # outer corner, two upper lid points, inner corner, two lower lid points: iBUG's order within an eye
    (263, 387, 385, 362, 380, 373),
    (33, 160, 158, 133, 153, 144),
)
"""MediaPipe indices of the subject's left eye, then the right one."""

__all__ = ["MEDIAPIPE_TO_IBUG", "LandmarkTracker", "eye_aspect_ratio", "landmarks_68", "quiet_native_log"]


@contextlib.contextmanager
def quiet_native_log() -> Iterator[None]:
    """Keep MediaPipe's and TensorFlow's start-up chatter off standard error, which belongs to the progress bar."""
    os.environ.setdefault("GLOG_minloglevel", "3")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    saved, sink = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(sink)


def import_mediapipe() -> Any:
    """The mediapipe module with its ``solutions``.

    Raises:
        ClipError: it is not installed, or is a release without models inside.
    """
    try:
        with quiet_native_log():
            import mediapipe
    except ImportError as fault:
        raise ClipError(
            "tracking needs mediapipe: install the extra 'track' (pip install 'dfanerf-rt[track]')"
        ) from fault
    _release_sound_devices()
    if not hasattr(mediapipe, "solutions"):
        raise ClipError(f"mediapipe {mediapipe.__version__} ships no models; tracking needs mediapipe==0.10.21")
    return mediapipe


def _release_sound_devices() -> None:
    """Undo a side effect of importing mediapipe: its recorder, which is not used here, opens PortAudio for the whole
    process and so freezes the list of microphones as it was then."""
    recorder: Any = sys.modules.get("sounddevice")
    while recorder is not None and getattr(recorder, "_initialized", False):
        recorder._terminate()


class LandmarkTracker:
    """Finds faces in successive frames of one video; used as a context manager.

    Faces too small in the picture for the mesh's own detector are found by a detector for far faces first.

    Args:
        max_faces: how many faces are looked for.
        tracking: use the previous frame to find the face in the next one (frames must come in order).
    """

    def __init__(self, max_faces: int = 3, tracking: bool = True) -> None:
        self._solutions = import_mediapipe().solutions
        self._max_faces = max_faces
        self._mesh: Any = self._new_mesh(max_faces, still=not tracking)
        self._far: tuple[Any, Any] | None = None
        self._quiet_until_found = True

    def __enter__(self) -> LandmarkTracker:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the graphs; the tracker cannot be used afterwards."""
        for graph in (self._mesh, *(self._far or ())):
            if graph is not None:
                graph.close()
        self._mesh = self._far = None

    def detect(self, frame: np.ndarray) -> np.ndarray:
        """Landmarks of the faces in one picture, largest face first; one face is never reported twice.

        Args:
            frame: (H, W, 3) uint8 sRGB.

        Returns:
            (n_faces, 478, 3) float32: x, y in pixels (pixel centres at +0.5) and MediaPipe's relative depth in
            pixels (smaller is nearer).
        """
        # the graphs log from their own threads until they have seen a first face
        with quiet_native_log() if self._quiet_until_found else contextlib.nullcontext():
            faces = self._run(self._mesh, frame) or self._detect_far(frame)
        self._quiet_until_found = self._quiet_until_found and not faces
        kept: list[np.ndarray] = []
        for face in sorted(faces, key=face_width, reverse=True):
            centre = face[:, :2].mean(0)
            if all(np.linalg.norm(centre - other[:, :2].mean(0)) > 0.5 * face_width(other) for other in kept):
                kept.append(face)
        return np.stack(kept) if kept else np.zeros((0, N_MEDIAPIPE, 3), np.float32)

    def _new_mesh(self, max_faces: int, still: bool) -> Any:
        with quiet_native_log():
            mesh = self._solutions.face_mesh.FaceMesh(
                static_image_mode=still,
                max_num_faces=max_faces,
                refine_landmarks=True,
                min_detection_confidence=0.5,
                min_tracking_confidence=0.5,
            )
            mesh.process(np.zeros((64, 64, 3), np.uint8))
        return mesh

    @staticmethod
    def _run(mesh: Any, picture: np.ndarray) -> list[np.ndarray]:
        height, width = picture.shape[:2]
        side = max(height, width)
        if height != width:
            # the mesh turns faces upright in normalised coordinates, which is only right in a square
            picture = np.pad(picture, ((0, side - height), (0, side - width), (0, 0)))
        found = mesh.process(np.ascontiguousarray(picture)).multi_face_landmarks or []
        return [np.array([(p.x, p.y, p.z) for p in face.landmark], np.float32) * side for face in found]

    def _detect_far(self, frame: np.ndarray) -> list[np.ndarray]:
        if self._far is None:
            with quiet_native_log():
                finder = self._solutions.face_detection.FaceDetection(min_detection_confidence=0.5, model_selection=1)
            self._far = (finder, self._new_mesh(1, still=True))
        finder, mesh = self._far
        height, width = frame.shape[:2]
        faces = []
        for detection in (finder.process(np.ascontiguousarray(frame)).detections or [])[: self._max_faces]:
            box = detection.location_data.relative_bounding_box
            reach = 1.25 * max(box.width * width, box.height * height)
            x, y = (box.xmin + box.width / 2) * width, (box.ymin + box.height / 2) * height
            left, top = max(0, round(x - reach)), max(0, round(y - reach))
            part = frame[top : round(y + reach), left : round(x + reach)]
            if min(part.shape[:2]) >= MIN_FACE_PX:
                faces += [face + np.array([left, top, 0], np.float32) for face in self._run(mesh, part)]
        return faces


def face_width(points: np.ndarray) -> float:
    """Size of a face in pixels: the longer side of the box around (478, 2 or 3) landmarks."""
    return float(np.ptp(points[:, :2], axis=0).max())


def landmarks_68(points: np.ndarray) -> np.ndarray:
    """The 68 iBUG landmarks (..., 68, 2) of MediaPipe's points (..., 478, 2 or 3), pixels."""
    return points[..., list(MEDIAPIPE_TO_IBUG), :2]


def eye_aspect_ratio(points: np.ndarray) -> np.ndarray:
    """Lid opening over eye width, (..., 2): the subject's left eye, then the right one.

    Args:
        points: (..., 478, 2 or 3) MediaPipe landmarks in pixels. With depth the eye's width is measured in space, so
            that turning the head does not look like opening the eye.

    Source: Soukupová and Čech 2016, eq. 1.
    """
    ratios = []
    for outer, up_outer, up_inner, inner, low_inner, low_outer in EYE_RINGS:
        height = _distance(points, up_outer, low_outer) + _distance(points, up_inner, low_inner)
        ratios.append(height / (2.0 * np.maximum(_distance(points, outer, inner), 1e-6)))
    return np.stack(ratios, axis=-1)


def _distance(points: np.ndarray, a: int, b: int) -> np.ndarray:
    return np.linalg.norm(points[..., a, :] - points[..., b, :], axis=-1)
