"""Renders the bundled presenter at rest into a numpy array, and says how bright it is."""

import numpy as np

from dfanerf_rt.avatar import Avatar
from dfanerf_rt.render.session import RenderSession

avatar = Avatar.load("presenter")
session = RenderSession(avatar, size=256)
picture = np.empty((session.height, session.width, 3), np.uint8)
field = avatar.section("field")
session.fold(field["condition_mean"], field["pose_mean"])
session.render(out=picture)
print(f"{session.width}x{session.height}, mean {picture.mean():.0f}")
