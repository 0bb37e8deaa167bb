"""The 68 iBUG landmarks as indices into MediaPipe's face mesh."""

from __future__ import annotations

MEDIAPIPE_TO_IBUG: tuple[int, ...] = (
    # Jaw, from image-left (the subject's right) to image-right, along MediaPipe's face oval.
    *(127, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 356),
    # Brows, image-left then image-right.
    *(70, 63, 105, 66, 107),
    *(336, 296, 334, 293, 300),
    # Bridge of the nose downwards, then the base from image-left to image-right.
    *(168, 197, 5, 4),
    *(75, 97, 2, 326, 305),
    # Eyes, each clockwise from its image-left corner.
    *(33, 160, 158, 133, 153, 144),
    *(362, 385, 387, 263, 373, 380),
    # Outer lip, clockwise from the image-left corner, then the inner lip likewise.
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181),
    *(78, 82, 13, 312, 308, 317, 14, 87),
)
"""Entry i is the MediaPipe landmark that stands for iBUG landmark i; usable on 468 and on 478 points."""
