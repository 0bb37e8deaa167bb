"""Train the bundled disentangling autoencoder on the bundled head model: under three minutes on two cores.

.venv/bin/python tools/build_attributes.py [--out FILE] [--steps N]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from dfanerf_rt.attributes.model import EYE_LANDMARKS, MOUTH_LANDMARKS, AttributeModel
from dfanerf_rt.attributes.sampling import sample_expressions
from dfanerf_rt.face.model import FaceModel
from dfanerf_rt.train.attributes import TYPICAL_STRENGTH, AttributeTraining, train_attributes

ASSET = Path(__file__).parents[1] / "dfanerf_rt" / "attributes" / "assets" / "attributes.safetensors"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ASSET)
    parser.add_argument("--steps", type=int, default=AttributeTraining.steps)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # the networks are so small that a second thread only waits

    def show(fraction: float, scalars: dict[str, float]) -> None:
        if round(fraction * arguments.steps) % 500 == 0:
            print(
                f"{fraction:4.0%}  " + "  ".join(f"{name} {value:.4f}" for name, value in scalars.items()), flush=True
            )

    face_model = FaceModel.bundled()
    training = AttributeTraining(steps=arguments.steps)
    model = train_attributes(face_model, training=training, seed=arguments.seed, on_progress=show)
    report(model, face_model)
    model.save(arguments.out)
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1e3:.0f} kB")


@torch.inference_mode()
def report(model: AttributeModel, face_model: FaceModel) -> None:
    """Print reconstruction, leak between mouth and eyes, and spread of the codes, on faces not trained on."""
    generator = torch.Generator().manual_seed(1234)
    expression = sample_expressions(4000, generator, talking_only=True)
    identity = torch.randn(1, face_model.n_identity, generator=generator).expand(len(expression), -1)
    landmarks = face_model.landmarks(identity, expression)
    person = model.for_person(face_model.landmarks(identity[0], torch.zeros_like(expression[0])))
    mouth_code, eye_code = person.encode(landmarks)
    mouth, eyes = person.decode(mouth_code, eye_code)
    other_eyes, other_mouth = (
        person.decode(mouth_code, eye_code.roll(1, 0))[0],
        person.decode(mouth_code.roll(1, 0), eye_code)[1],
    )
    for name, found, truth, swapped in (
        ("mouth", mouth, landmarks[:, MOUTH_LANDMARKS], other_eyes),
        ("eyes", eyes, landmarks[:, EYE_LANDMARKS], other_mouth),
    ):
        error = 1e3 * (found - truth).norm(dim=-1)
        leak = 1e3 * (swapped - found).norm(dim=-1)
        print(
            f"{name}: reconstruction {error.mean():.3f} mm mean, {error.quantile(0.99):.3f} mm p99; "
            f"moved by the other part's code {leak.mean():.3f} mm mean, {leak.max():.3f} mm max"
        )
    everyday = person.encode(face_model.landmarks(identity, TYPICAL_STRENGTH * expression))
    for name, code in zip(("mouth_code", "eye_code"), everyday, strict=True):
        spread = code.std(dim=0)
        print(f"{name}: standard deviation {spread.min():.2f} to {spread.max():.2f}")


if __name__ == "__main__":
    main()
