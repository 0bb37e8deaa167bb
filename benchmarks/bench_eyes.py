"""Whether the eye code closes the eyes and moves nothing else (the paper's fig. 7).

    .venv/bin/python benchmarks/bench_eyes.py [--avatar AVATAR] [--poses N] [--json OUT] [--sheet OUT.jpg]

Pictures of recorded poses and of mouths at rest and open are rendered twice, with the most open and with the most
closed eye code that the avatar has recorded, and MediaPipe looks at them. Exit status 1: closed eyes
have on average more than a third of the open ones' aspect ratio (height over width), or a mouth moves by over a pixel.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from result_schema import machine, write_results

from dfanerf_rt.attributes.model import AttributeModel
from dfanerf_rt.avatar import Avatar
from dfanerf_rt.errors import DfanerfError
from dfanerf_rt.evaluate.blinks import eye_aspect_ratio
from dfanerf_rt.evaluate.drive import mediapipe_detector
from dfanerf_rt.render.session import RenderSession

MOST_RATIO = 1 / 3
MOST_SHIFT_PX = 1.0
MOUTH = slice(48, 68)
UPPER_LIDS, LOWER_LIDS = (37, 38, 43, 44), (41, 40, 47, 46)


def extremes(avatar: Avatar) -> tuple[torch.Tensor, torch.Tensor]:
    """The recorded eye codes (16,) of the most open and of the most closed eyes."""
    attributes = AttributeModel.from_tensors(avatar.section("attributes"), where=avatar.where)
    codes = avatar.section("motion")["recorded_eye_code"]
    _, eyes = attributes.decode(codes.new_zeros(len(codes), attributes.config.mouth_dim), codes)
    lids = [[index - 36 for index in side] for side in (UPPER_LIDS, LOWER_LIDS)]
    opening = (eyes[:, lids[0]] - eyes[:, lids[1]]).norm(dim=-1).mean(1)
    return codes[opening.argmax()], codes[opening.argmin()]


def mouths(avatar: Avatar) -> dict[str, torch.Tensor]:
    """Mouth codes (32,): what the field has seen on average, and ``condition_std`` to both sides of it."""
    mean, std = (avatar.section("field")[name][:32] for name in ("condition_mean", "condition_std"))
    return {"mean": mean, "above": mean + std, "below": mean - std}


def look(avatar: Avatar, n_poses: int) -> tuple[list[dict[str, Any]], list[np.ndarray]]:
    """A row for every pose and mouth whose face was found, and the pictures, open above closed."""
    session = RenderSession(avatar)
    poses = avatar.section("motion")["recorded_pose"]
    chosen = poses[torch.linspace(0, len(poses) - 1, n_poses).long()]
    eyes = extremes(avatar)
    rows, pictures = [], []
    for number, pose in enumerate(chosen):
        for name, mouth in mouths(avatar).items():
            shown, found = [], []
            for code in eyes:
                session.fold(torch.cat([mouth, code]), pose)
                shown.append(np.array(session.render().cpu().numpy()))
                with mediapipe_detector() as detect:  # a fresh one: a tracker remembers
                    found.append(detect(shown[-1]))
            pictures.append(np.concatenate(shown))
            if any(points is None for points in found):
                continue
            open_ratio, closed_ratio = (float(eye_aspect_ratio(points[None])[0]) for points in found)
            moved = np.linalg.norm(found[1][MOUTH] - found[0][MOUTH], axis=1)
            measures = {
                "open_aspect": open_ratio,
                "closed_aspect": closed_ratio,
                "closed_over_open": closed_ratio / open_ratio,
                "mouth_shift_px": float(moved.mean()),
            }
            rows += [
                {
                    "part": "eyes",
                    "subject": f"pose {number}, mouth {name}",
                    "measure": measure,
                    "value": value,
                    "limit": None,
                }
                for measure, value in measures.items()
            ]
    return rows, pictures


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--avatar", default="presenter")
    parser.add_argument("--poses", type=int, default=6)
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--sheet", type=Path, help="write the pictures here")
    arguments = parser.parse_args(argv)
    try:
        rows, pictures = look(Avatar.load(arguments.avatar), arguments.poses)
    except DfanerfError as fault:
        print(f"bench_eyes: {fault}", file=sys.stderr)
        return 2
    if arguments.sheet:
        Image.fromarray(np.concatenate(pictures, axis=1)).save(arguments.sheet, quality=92)
    good = True
    for measure, limit, decide in (("closed_over_open", MOST_RATIO, np.mean), ("mouth_shift_px", MOST_SHIFT_PX, max)):
        values = [row["value"] for row in rows if row["measure"] == measure]
        if not values:
            print("bench_eyes: no face was found in any picture", file=sys.stderr)
            return 1
        decided = float(decide(values))
        good = good and decided <= limit
        rows.append({"part": "eyes", "subject": "all", "measure": measure, "value": decided, "limit": limit})
        print(f"{measure}: mean {np.mean(values):.3f}, worst of {len(values)} {max(values):.3f} (limit {limit:.2f})")
    if arguments.json:
        write_results(arguments.json, {"kind": "live", "machine": machine(), "results": rows})
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
