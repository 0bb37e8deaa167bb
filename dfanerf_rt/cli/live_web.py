"""``dfanerf-live --web``: serves the page until Ctrl-C."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import sys
from typing import TYPE_CHECKING

from dfanerf_rt.errors import DfanerfError

if TYPE_CHECKING:
    from dfanerf_rt.cli.live import LiveCommand
    from dfanerf_rt.live.server.app import WebServer

TOKEN_VARIABLE = "DFANERF_TOKEN"


def serve(command: LiveCommand) -> int:
    """Load the avatar, serve, and hang up on everybody at the end.

    Raises:
        DfanerfError: what --web needs is not installed, the settings contradict each other, the port is in use.
        AvatarError: the avatar cannot be used.
    """
    missing = [name for name in ("aiohttp", "aiortc") if importlib.util.find_spec(name) is None]
    if missing:
        raise DfanerfError(f"--web needs {' and '.join(missing)}: pip install 'dfanerf-rt[web]'")
    from dfanerf_rt.live.server.app import WebServer
    from dfanerf_rt.live.server.config import WebConfig
    from dfanerf_rt.live.studio import Studio

    config = WebConfig(
        host=command.host,
        port=command.port,
        token=command.token or os.environ.get(TOKEN_VARIABLE) or None,
        certificate=command.certificate,
        key=command.key,
        most_sessions=command.sessions,
    )
    config.tls()  # a certificate that cannot be used is said before the avatar is loaded
    studio = Studio(command.avatar, command.size)
    studio.chain()
    asyncio.run(_serve(WebServer(studio, config, command.mark)))
    return 0


async def _serve(server: WebServer) -> None:
    from dfanerf_rt.live.server.app import serving

    ended = asyncio.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(each, ended.set)
    async with serving(server) as address:
        token = "?token=TOKEN" if server.config.token else ""
        print(f"open {address}{token} in a browser; Ctrl-C ends", file=sys.stderr, flush=True)
        await ended.wait()
