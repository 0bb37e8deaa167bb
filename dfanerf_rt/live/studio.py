"""What several sessions share: avatars are loaded once, and one set of weights renders for all."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dfanerf_rt.avatar import Avatar
from dfanerf_rt.errors import AvatarError
from dfanerf_rt.live.chain import Chain, MotionControls, default_motion, load_encoder, load_motion
from dfanerf_rt.render.session import RenderSession
from dfanerf_rt.sync.model import LIVE_LOOKAHEAD_MS, AudioEncoder
from dfanerf_rt.sync.stream import StreamingSync


class SharedRenderer:
    """One session's view of a :class:`RenderSession` that others use too.

    What to show is kept here until :meth:`render`, which folds and renders while it holds the lock; so no session sees
    another's frame, and the weights, the fold and the threads are there once.
    """

    def __init__(self, session: RenderSession, lock: threading.Lock) -> None:
        self._session, self._lock = session, lock
        self._shown: tuple[torch.Tensor, torch.Tensor] | None = None

    @property
    def width(self) -> int:
        """Pixels."""
        return self._session.width

    @property
    def height(self) -> int:
        """Pixels."""
        return self._session.height

    def fold(self, condition: torch.Tensor, head_pose: torch.Tensor) -> None:
        """Set the condition (48,) and the head pose (6,) of this session's next picture."""
        self._shown = condition, head_pose

    def render(self, out: torch.Tensor | None = None) -> torch.Tensor:
        """This session's picture into ``out``, (H, W, 3) uint8 sRGB, or into a new one."""
        if self._shown is None:
            raise RuntimeError("render() before fold()")
        picture = torch.empty(self.height, self.width, 3, dtype=torch.uint8) if out is None else out
        with self._lock:
            self._session.fold(*self._shown)
            return self._session.render(picture)


@dataclass
class _Loaded:
    avatar: Avatar
    encoder: AudioEncoder
    renderer: RenderSession
    lock: threading.Lock


class Studio:
    """Makes a :class:`Chain` for each session.

    Args:
        avatars: a file, the name of a bundled avatar, or a folder of avatar files.
        size: width of all pictures, px; None for each avatar's own.
        device: where to render.

    Raises:
        AvatarError: the folder holds no avatar.
    """

    def __init__(self, avatars: str | Path, size: int | None = None, device: str = "cpu") -> None:
        self._size, self._device = size, device
        self._n_threads = torch.get_num_threads()  # later, in a thread of a running session, it may be one
        self._places: dict[str, str | Path] = {}
        folder = Path(avatars)
        if folder.is_dir():
            self._places = {path.stem: path for path in sorted(folder.glob("*.safetensors"))}
            if not self._places:
                raise AvatarError(f"{folder}: holds no avatar (*.safetensors)")
        else:
            self._places = {folder.stem: avatars}
        self._loaded: dict[str, _Loaded] = {}
        self._loading = threading.Lock()

    @property
    def names(self) -> list[str]:
        """Avatars that sessions can have; the first is the default."""
        return list(self._places)

    def chain(
        self,
        name: str | None = None,
        seed: int | None = None,
        lookahead_ms: float | None = LIVE_LOOKAHEAD_MS,
        controls: MotionControls | None = None,
    ) -> Chain:
        """The stages of a new session; loads the avatar where it is the first to want it. For any thread.

        Args:
            name: of the avatar; None for the default.
            seed, lookahead_ms, controls: as of :func:`~dfanerf_rt.live.chain.load_chain`.

        Raises:
            AvatarError: an unknown name, a damaged file, or settings that the avatar cannot follow.
        """
        name = self.names[0] if name is None else name
        if name not in self._places:
            raise AvatarError(f"no avatar '{name}'; there are {', '.join(self.names)}")
        with self._loading:
            if name not in self._loaded:
                self._loaded[name] = self._load(self._places[name])
        loaded = self._loaded[name]
        motion_name = default_motion(loaded.avatar)
        if motion_name != "generated":
            controls = None
        motion = load_motion(loaded.avatar, motion_name, seed, controls)
        try:
            encoder = loaded.encoder if lookahead_ms is None else loaded.encoder.with_lookahead(lookahead_ms)
        except ValueError as fault:
            raise AvatarError(f"{loaded.avatar.where}: {fault}") from fault
        renderer: Any = SharedRenderer(loaded.renderer, loaded.lock)
        return Chain(loaded.avatar, StreamingSync(encoder), motion, renderer, motion_name)

    def _load(self, place: str | Path) -> _Loaded:
        avatar = Avatar.load(place)
        encoder = load_encoder(avatar)
        renderer = RenderSession(avatar, device=self._device, size=self._size, n_threads=self._n_threads)
        lock = threading.Lock()
        warm = StreamingSync(encoder)
        code = next(iter(warm.push(torch.zeros(16000).numpy())))
        head_pose, eye_code = load_motion(avatar, "still").next()
        renderer.fold(torch.cat([code, eye_code]), head_pose)
        renderer.render()
        return _Loaded(avatar, encoder, renderer, lock)
