"""Draws the README's pictures of the bundled presenters: a loop of both speaking, and a strip of what is rendered.

    python tools/draw_presenters.py --work FOLDER [--out docs]

FOLDER is that of ``tools/build_presenter.py``, which holds the clips with the truth.
"""

from __future__ import annotations

import argparse
import tempfile
from itertools import islice
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw

from dfanerf_rt.attributes.model import AttributeModel
from dfanerf_rt.avatar import Avatar
from dfanerf_rt.cli.demo import SENTENCE
from dfanerf_rt.cli.main import main as dfanerf
from dfanerf_rt.clip.format import Clip
from dfanerf_rt.clip.presenter.people import PEOPLE
from dfanerf_rt.clip.video import read_video
from dfanerf_rt.field.field import ConditionalField
from dfanerf_rt.files import atomic_path
from dfanerf_rt.ops.camera import Camera
from dfanerf_rt.ops.march_rays import march_rays
from dfanerf_rt.ops.render_field import render_field

CAPTIONS = ("truth", "render", "depth", "samples along each ray")
CAPTION_PX = 16
NEAR_M, FAR_M = 0.66, 0.92
MOST_SAMPLES = 24


def strip(name: str, work: Path) -> np.ndarray:
    """Truth, render, depth and where the occupancy grid lets rays be sampled, of one held-out frame: (H, 4 W, 3)."""
    clip, avatar = Clip(work / f"{name}256"), Avatar.load(name)
    meta = clip.meta
    # The most open mouth that was held out.
    inner = clip.track.landmarks[meta.test_frames.start :, [62, 66], 1]
    index = meta.test_frames.start + int((inner[:, 1] - inner[:, 0]).argmax())
    attributes = AttributeModel.from_tensors(avatar.section("attributes"))
    mouth, eyes = attributes.encode(clip.track.landmarks[index : index + 1])
    field = ConditionalField.from_avatar(avatar)
    with torch.no_grad():
        folded = field.fold(torch.cat([mouth, eyes], 1)[0], clip.track.head_pose[index])
        camera = Camera(meta.width, meta.height, meta.focal_px, meta.cx, meta.cy)
        frame = render_field(folded, camera, torch.from_numpy(clip.background().copy()).float() / 255)
        samples = march_rays(
            folded, camera.ray_directions().reshape(-1, 3), torch.full((meta.height * meta.width,), 0.5)
        )
    shown = (frame.image.clamp(0, 1) * 255).round().byte().numpy()
    depth = frame.depth_m / frame.alpha.clamp_min(1e-3)
    nearness = ((FAR_M - depth) / (FAR_M - NEAR_M)).clamp(0, 1) * frame.alpha
    count = samples.offsets.diff().view(meta.height, meta.width).float() / MOST_SAMPLES
    maps = [
        (matplotlib.colormaps[colours](value.clamp(0, 1).numpy())[..., :3] * 255).astype(np.uint8)
        for colours, value in (("magma", nearness), ("viridis", count))
    ]
    return np.concatenate([clip.frame(index), shown, *maps], 1)


def speaking(name: str, folder: Path, seconds: float, every: int) -> list[np.ndarray]:
    """Every so many frames of the avatar speaking the demo sentence, as 'dfanerf render' makes them."""
    path = folder / f"{name}.mp4"
    if dfanerf(["render", name, "--audio", str(SENTENCE), "--out", str(path)]):
        raise SystemExit(f"{name}: could not be rendered")
    _, frames = read_video(path)
    return list(islice(frames, 0, int(25 * seconds), every))


def main() -> int:
    """Write both pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of tools/build_presenter.py")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--seconds", type=float, default=5.0, help="length of the loop")
    options = parser.parse_args()
    rows = np.concatenate([strip(name, options.work) for name in PEOPLE])
    picture = Image.new("RGB", (rows.shape[1], rows.shape[0] + CAPTION_PX), (255, 255, 255))
    picture.paste(Image.fromarray(rows), (0, CAPTION_PX))
    pen = ImageDraw.Draw(picture)
    for column, caption in enumerate(CAPTIONS):
        pen.text((column * rows.shape[1] // len(CAPTIONS) + 4, 2), caption, fill=(0, 0, 0))
    with atomic_path(options.out / "presenters_strip.jpg") as temporary:
        picture.save(temporary, quality=88)
    every = 2
    with tempfile.TemporaryDirectory() as folder:
        both = [speaking(name, Path(folder), options.seconds, every) for name in PEOPLE]
    loop = [Image.fromarray(np.concatenate(pair, 1)) for pair in zip(*both, strict=True)]
    with atomic_path(options.out / "presenters.webp") as temporary:
        loop[0].save(
            temporary, save_all=True, append_images=loop[1:], duration=40 * every, loop=0, quality=75, method=6
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
