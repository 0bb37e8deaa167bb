"""Puts MediaPipe's face mesh on the head's triangles, by tracking pictures of the head.

Many heads are drawn with known shape and pose; MediaPipe's tracker runs on the pictures; each landmark's
ray is intersected with the head it was seen on, and the hits, carried to the mean neutral head, are
averaged robustly into one point on one triangle.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dfanerf_rt.face.arkit import ARKIT_INDEX
from dfanerf_rt.face.regions import REGION_INDEX
from head.looks import vertex_colours
from head.makehuman import FloatArray, IntArray
from head.raycast import cast as cast_rays
from head.raycast import point_rays, shade, vertex_normals

SIZE_PX, FOCAL_PX = 512, 1000.0
N_LANDMARKS = 478
LID_STEP_M = 0.0001
FRONT_VIEW_M = 1.0
SNAP_PX = 14.0  # a ray that misses its kind of surface goes to the nearest pixel of it within this
CLEAR_COSINE = 0.4  # views flatter than this say little about where on the surface a landmark is
LEAST_OBSERVATIONS = 8

INNER_LIP_UPPER = (191, 80, 81, 82, 13, 312, 311, 310, 415)
INNER_LIP_LOWER = (95, 88, 178, 87, 14, 317, 402, 318, 324)
LIP_CORNERS = (78, 308, 61, 291, 62, 76, 292, 306)
EYE_UPPER = (246, 161, 160, 159, 158, 157, 173, 466, 388, 387, 386, 385, 384, 398)
EYE_LOWER = (7, 163, 144, 145, 153, 154, 155, 249, 390, 373, 374, 380, 381, 382)
IRIS = tuple(range(468, 478))
INSIDE = ("sclera", "iris", "pupil", "teeth_upper", "teeth_lower", "tongue", "mouth_inner")

EXPRESSIONS: tuple[dict[str, float], ...] = (
    {},
    {},
    {"jawOpen": 0.35},
    {"jawOpen": 0.6},
    {"jawOpen": 0.8},
    {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0},
    {"mouthSmileLeft": 0.7, "mouthSmileRight": 0.7},
    {"mouthSmileLeft": 0.6, "mouthSmileRight": 0.6, "jawOpen": 0.35},
    {"mouthPucker": 0.7},
    {"mouthFunnel": 0.6, "jawOpen": 0.2},
    {"browInnerUp": 0.7, "browOuterUpLeft": 0.5, "browOuterUpRight": 0.5},
)


@dataclass(frozen=True)
class Scene:
    """One picture's truth: the head's shape and pose."""

    identity: FloatArray
    expression: FloatArray
    rotation: FloatArray
    translation: FloatArray
    tint: FloatArray


@dataclass(frozen=True)
class Observation:
    """A picture's landmarks (478, 2) in pixels, the triangle each pixel shows, and the scene they were seen in."""

    scene: Scene
    points_px: FloatArray
    triangle: NDArray[np.int32]


@dataclass(frozen=True)
class Placement:
    """Where each placed landmark lies: its index, triangle corners, weights, and the spread in metres."""

    index: IntArray
    triangles: IntArray
    barycentric: FloatArray
    spread: FloatArray


def random_scene(rng: np.random.Generator, components: int, units: int) -> Scene:
    """A head of random identity, one of EXPRESSIONS, yaw within 25 degrees, pitch within 12."""
    expression = np.zeros(units)
    for name, value in EXPRESSIONS[rng.integers(len(EXPRESSIONS))].items():
        expression[ARKIT_INDEX[name]] = np.clip(value * rng.uniform(0.8, 1.2), 0, 1)
    yaw, pitch, roll = np.deg2rad(rng.uniform([-25, -12, -6], [25, 12, 6]))
    turn_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    turn_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    turn_z = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    return Scene(
        identity=np.clip(rng.normal(size=components), -2, 2) * 0.8,
        expression=expression,
        rotation=turn_z @ turn_y @ turn_x,
        translation=np.array([*rng.uniform(-0.02, 0.02, 2), rng.uniform(0.65, 0.8)]),
        tint=rng.uniform(0.55, 1.1) * rng.uniform(0.93, 1.07, 3),
    )


def shape(head: dict[str, NDArray], scene: Scene) -> FloatArray:
    """Vertices (V, 3) of a scene in head coordinates."""
    offset = np.tensordot(scene.identity, head["id_basis"], 1) + np.tensordot(scene.expression, head["exp_basis"], 1)
    return head["mean"] + offset


def picture(head: dict[str, NDArray], scene: Scene) -> tuple[NDArray[np.uint8], IntArray]:
    """Picture (512, 512, 3) of a scene and the triangle seen by each pixel (512, 512), -1 for none."""
    colours = vertex_colours(head["region"])
    skin = np.isin(head["region"], [REGION_INDEX[n] for n in ("skin", "ears", "neck", "eyelids", "lips")])
    colours[skin] *= scene.tint
    placed = shape(head, scene) @ scene.rotation.T + scene.translation
    image, view = shade(placed, head["faces"], np.clip(colours, 0, 1), SIZE_PX, FOCAL_PX)
    return image, view.triangle.reshape(SIZE_PX, SIZE_PX)


def observe(head: dict[str, NDArray], count: int, rng: np.random.Generator) -> list[Observation]:
    """Track ``count`` random pictures; prints in how many the tracker found the face."""
    import mediapipe as mp

    found: list[Observation] = []
    with mp.solutions.face_mesh.FaceMesh(static_image_mode=True, refine_landmarks=True, max_num_faces=1) as tracker:
        for _ in range(count):
            scene = random_scene(rng, len(head["id_basis"]), len(head["exp_basis"]))
            image, triangle = picture(head, scene)
            result = tracker.process(image).multi_face_landmarks
            if result:
                points = np.array([[point.x, point.y] for point in result[0].landmark]) * SIZE_PX
                found.append(Observation(scene, points, triangle.astype(np.int32)))
    print(f"MediaPipe found the face in {len(found)} of {count} pictures")
    return found


def lower_lip(head: dict[str, NDArray]) -> NDArray[np.bool_]:
    """Which vertices the jaw carries (V,)."""
    return head["exp_basis"][ARKIT_INDEX["jawOpen"], :, 1] > 0.008


def allowed_triangles(head: dict[str, NDArray]) -> dict[int, NDArray[np.bool_]]:
    """Per landmark, which triangles (F,) it may lie on."""
    faces, region = head["faces"], head["region"]
    inside = np.isin(region, [REGION_INDEX[name] for name in INSIDE])[faces]
    outer = ~inside.any(1) & ~(region == REGION_INDEX["ears"])[faces].any(1)
    eyes = np.isin(region, [REGION_INDEX[name] for name in ("sclera", "iris", "pupil")])[faces].all(1)
    lips = (region == REGION_INDEX["lips"])[faces].sum(1) >= 2
    jaw = lower_lip(head)[faces]
    allowed = dict.fromkeys(range(N_LANDMARKS), outer)
    allowed |= dict.fromkeys(IRIS, eyes)
    allowed |= dict.fromkeys(INNER_LIP_UPPER, lips & ~jaw.any(1))
    allowed |= dict.fromkeys(INNER_LIP_LOWER, lips & jaw.all(1))
    return allowed


def usable(landmark: int, scene: Scene) -> bool:
    """Whether a scene's expression shows where the landmark is: inner lips not when pursed, lids when open."""
    pursed = scene.expression[ARKIT_INDEX["mouthPucker"]] + scene.expression[ARKIT_INDEX["mouthFunnel"]] > 0.1
    blink = scene.expression[ARKIT_INDEX["eyeBlinkLeft"]] > 0.1
    if landmark in INNER_LIP_UPPER or landmark in INNER_LIP_LOWER:
        return not pursed
    if landmark in EYE_UPPER or landmark in EYE_LOWER or landmark in IRIS:
        return not blink
    return True


def place(head: dict[str, NDArray], observations: list[Observation]) -> Placement:
    """Vote the landmarks onto triangles of the mean head."""
    faces, mean = head["faces"], head["mean"]
    allowed = allowed_triangles(head)
    hits: list[list[tuple[FloatArray, FloatArray]]] = [[] for _ in range(N_LANDMARKS)]
    for seen in observations:
        vertices = shape(head, seen.scene) @ seen.scene.rotation.T + seen.scene.translation
        rows, columns = np.nonzero(seen.triangle >= 0)
        pixel_triangle = seen.triangle[rows, columns]
        target = seen.points_px.copy()
        direct = cast_rays(vertices, faces, point_rays(target, SIZE_PX, FOCAL_PX))
        for landmark in range(N_LANDMARKS):
            if not usable(landmark, seen.scene):
                target[landmark] = np.nan
                continue
            if direct.triangle[landmark] >= 0 and allowed[landmark][direct.triangle[landmark]]:
                continue
            near = (np.abs(columns + 0.5 - target[landmark, 0]) < SNAP_PX) & (
                np.abs(rows + 0.5 - target[landmark, 1]) < SNAP_PX
            )
            near &= allowed[landmark][pixel_triangle]
            if not near.any():
                target[landmark] = np.nan
                continue
            offset = np.column_stack([columns[near], rows[near]]) + 0.5 - target[landmark]
            target[landmark] += offset[np.argmin((offset**2).sum(1))]
        known = np.flatnonzero(~np.isnan(target[:, 0]))
        directions = point_rays(target[known], SIZE_PX, FOCAL_PX)
        view = cast_rays(vertices, faces, directions)
        for position, landmark in enumerate(known):
            triangle = view.triangle[position]
            if triangle < 0 or not allowed[landmark][triangle]:
                continue
            hits[landmark].append(
                (view.weight[position] @ mean[faces[triangle]], seen.scene.rotation.T @ directions[position])
            )

    kept: list[tuple[int, IntArray, FloatArray, float]] = []
    for landmark, found in enumerate(hits):
        if len(found) < LEAST_OBSERVATIONS:
            continue
        candidates = faces[allowed[landmark]]
        points, triangle, weight = consensus(mean, candidates, *(np.array(part) for part in zip(*found, strict=True)))
        spread = float(np.median(np.linalg.norm(points - weight @ mean[candidates[triangle]], axis=1)))
        kept.append((landmark, candidates[triangle], weight, spread))
    return Placement(
        np.array([entry[0] for entry in kept]),
        np.stack([entry[1] for entry in kept]),
        np.stack([entry[2] for entry in kept]),
        np.array([entry[3] for entry in kept]),
    )


def consensus(
    mean: FloatArray, candidates: IntArray, points: FloatArray, directions: FloatArray
) -> tuple[FloatArray, int, FloatArray]:
    """One point on the mean head for a landmark's hits.

    Trackers slide a landmark of the face's outline along the silhouette when its side is turned away, so only
    the views that see the surface at the estimate clearly count, or the clearest quarter of all.

    Args:
        mean: (V, 3) vertices; candidates: (C, 3) triangles the landmark may lie on.
        points: (N, 3) hits on the mean head; directions: (N, 3) of their rays in head coordinates.

    Returns:
        The hits that counted, the chosen triangle and the weights (3,) on its corners.
    """
    normals = vertex_normals(mean, candidates)
    counted = points
    for _ in range(4):
        triangle, weight = closest_on_triangles(geometric_median(counted), mean[candidates])
        normal = weight @ normals[candidates[triangle]]
        cosine = -(directions @ normal) / np.linalg.norm(normal)
        enough = max(LEAST_OBSERVATIONS, len(points) // 4)
        counted = points[cosine >= min(CLEAR_COSINE, np.sort(cosine)[-enough])]
    triangle, weight = closest_on_triangles(geometric_median(counted), mean[candidates])
    return counted, triangle, weight


def snap_lids(head: dict[str, NDArray], placement: Placement) -> Placement:
    """Move the lids' landmarks onto the lids' edges, so that they meet when the eyes close.

    The drawn head has no lashes, and the tracker sets its lids a millimetre or two beside the edge of the eye.
    Each landmark goes up or down, as seen from the front, to the last point of skin before the eyeball.
    """
    faces, mean = head["faces"], head["mean"]
    eyeball = np.isin(head["region"], [REGION_INDEX[name] for name in ("sclera", "iris", "pupil")])[faces].all(1)
    triangles, barycentric = placement.triangles.copy(), placement.barycentric.copy()
    for row, landmark in enumerate(placement.index):
        if landmark not in EYE_UPPER and landmark not in EYE_LOWER:
            continue
        start = barycentric[row] @ mean[triangles[row]]
        # From 3 mm outside the landmark to 4 mm inside, down for the upper lid and up for the lower.
        inward = 1.0 if landmark in EYE_UPPER else -1.0
        offsets = np.arange(-0.003, 0.004, LID_STEP_M) * inward
        towards = np.column_stack(
            [np.full(len(offsets), start[0]), start[1] + offsets, np.full(len(offsets), start[2])]
        )
        towards[:, 2] += FRONT_VIEW_M
        directions = towards / np.linalg.norm(towards, axis=1, keepdims=True)
        view = cast_rays(mean + np.array([0, 0, FRONT_VIEW_M]), faces, directions)
        inside = eyeball[view.triangle]
        if inside.any() and not inside[0]:
            edge = int(np.argmax(inside)) - 1
            triangles[row], barycentric[row] = faces[view.triangle[edge]], view.weight[edge]
    return replace(placement, triangles=triangles, barycentric=barycentric)


def geometric_median(points: FloatArray, iterations: int = 50) -> FloatArray:
    """The point (3,) with the least summed distance to points (N, 3) (Weiszfeld)."""
    centre = np.median(points, axis=0)
    for _ in range(iterations):
        weight = 1 / np.maximum(np.linalg.norm(points - centre, axis=1), 1e-5)
        centre = (weight[:, None] * points).sum(0) / weight.sum()
    return centre


def closest_on_triangles(point: FloatArray, corners: FloatArray) -> tuple[int, FloatArray]:
    """The triangle (of (F, 3, 3)) nearest to a point, and the weights (3,) of the nearest point on it."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    ab, ac, ap = b - a, c - a, point - a
    d00, d01, d11 = (ab * ab).sum(1), (ab * ac).sum(1), (ac * ac).sum(1)
    d20, d21 = (ap * ab).sum(1), (ap * ac).sum(1)
    area = np.maximum(d00 * d11 - d01 * d01, 1e-18)
    v, w = (d11 * d20 - d01 * d21) / area, (d00 * d21 - d01 * d20) / area
    options = [np.column_stack([1 - v - w, v, w])]
    outside = (options[0] < 0).any(1)
    for first, second in ((0, 1), (1, 2), (2, 0)):
        edge = corners[:, second] - corners[:, first]
        share = np.clip(((point - corners[:, first]) * edge).sum(1) / np.maximum((edge**2).sum(1), 1e-18), 0, 1)
        weights = np.zeros((len(corners), 3))
        weights[:, first], weights[:, second] = 1 - share, share
        options.append(weights)
    distances = np.stack([np.linalg.norm((o[:, :, None] * corners).sum(1) - point, axis=1) for o in options])
    distances[0, outside] = np.inf
    option, triangle = np.unravel_index(np.argmin(distances), distances.shape)
    return int(triangle), options[option][triangle]


def reprojection_px(head: dict[str, NDArray], placement: Placement, observations: list[Observation]) -> FloatArray:
    """Distances (pictures, M) in pixels between the placed landmarks, in the true pose, and the tracked ones."""
    result = []
    for seen in observations:
        points = (shape(head, seen.scene)[placement.triangles] * placement.barycentric[..., None]).sum(1)
        camera = points @ seen.scene.rotation.T + seen.scene.translation
        pixels = camera[:, :2] / camera[:, 2:] * FOCAL_PX + SIZE_PX / 2
        result.append(np.linalg.norm(pixels - seen.points_px[placement.index], axis=1))
    return np.array(result)


def subset(placement: Placement, keep: NDArray[np.bool_]) -> Placement:
    """The placements where ``keep`` (M,) is true."""
    return replace(
        placement,
        index=placement.index[keep],
        triangles=placement.triangles[keep],
        barycentric=placement.barycentric[keep],
        spread=placement.spread[keep],
    )
