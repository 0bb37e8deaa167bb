"""The routes: the page, its sessions, health and metrics."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import tempfile
from collections.abc import AsyncIterator
from importlib import resources
from pathlib import Path
from typing import Any

from aiohttp import web

from dfanerf_rt.audio.sources import load_audio
from dfanerf_rt.errors import AudioError, DfanerfError
from dfanerf_rt.live.chain import Chain, MotionControls
from dfanerf_rt.live.server.config import WebConfig
from dfanerf_rt.live.server.guard import guard, refusal
from dfanerf_rt.live.server.h264 import encode_lightly
from dfanerf_rt.live.server.metrics import Totals, exposition
from dfanerf_rt.live.server.visits import Visit, offer_own_address
from dfanerf_rt.live.server.wishes import changes_of, offer_of
from dfanerf_rt.live.session import LiveSession
from dfanerf_rt.live.studio import Studio
from dfanerf_rt.sync.model import LIVE_LOOKAHEAD_MS

LOG = logging.getLogger("dfanerf.web")
FILES = {
    "/": ("index.html", "text/html"),
    "/app.js": ("app.js", "text/javascript"),
    "/style.css": ("style.css", "text/css"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
"""All that is served; nothing is looked up by what a browser says."""
MOST_JSON_BYTES = 200_000
CUSHION_S = 0.04
LEAVING_S = 10.0
"""The most that the server waits at its end for browsers that were leaving already."""


class WebServer:
    """Everything behind the page.

    Args:
        studio: where sessions get their avatars.
        config: see :class:`WebConfig`.
        mark: draw the visible mark "synthetic".
    """

    def __init__(self, studio: Studio, config: WebConfig, mark: bool = True) -> None:
        self.studio, self.config, self.mark = studio, config, mark
        self.visits: dict[str, Visit] = {}
        self.totals = Totals()
        self._beginning = 0
        self._leaving: set[Visit] = set()
        self._files = {
            path: (resources.files("dfanerf_rt.live").joinpath("web", name).read_bytes(), kind)
            for path, (name, kind) in FILES.items()
        }

    def application(self) -> web.Application:
        """For aiohttp to run."""
        app = web.Application(middlewares=[guard(self.config)], client_max_size=MOST_JSON_BYTES)
        app.router.add_get("/health", self.health)
        app.router.add_get("/metrics", self.metrics)
        app.router.add_get("/api/options", self.options)
        app.router.add_post("/api/sessions", self.begin)
        app.router.add_patch("/api/sessions/{id}", self.change)
        app.router.add_delete("/api/sessions/{id}", self.end)
        app.router.add_post("/api/sessions/{id}/audio", self.audio)
        for path in FILES:
            app.router.add_get(path, self.file)
        app.cleanup_ctx.append(self._lifetime)
        return app

    async def file(self, request: web.Request) -> web.Response:
        """One of :data:`FILES`."""
        body, kind = self._files[request.path]
        return web.Response(body=body, content_type=kind, charset="utf-8")

    async def health(self, request: web.Request) -> web.Response:
        """Whether the server works, without a token and without any detail."""
        return web.json_response({"status": "ok"})

    async def metrics(self, request: web.Request) -> web.Response:
        """For Prometheus."""
        text = exposition(self.visits.values(), self.totals, self.config.most_sessions)
        return web.Response(body=text.encode(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    async def options(self, request: web.Request) -> web.Response:
        """What the page can choose."""
        return web.json_response(
            {
                "avatars": self.studio.names,
                "lookahead_ms": LIVE_LOOKAHEAD_MS,
                "most_upload_bytes": self.config.most_upload_bytes,
                "sessions": len(self.visits),
                "most_sessions": self.config.most_sessions,
            }
        )

    async def begin(self, request: web.Request) -> web.Response:
        """A browser's offer: {"sdp", "avatar", "seed", "temperature", "lookahead_ms"} → {"sdp", "id"}."""
        if len(self.visits) + self._beginning >= self.config.most_sessions:
            self.totals.refused += 1
            taken = self.config.most_sessions
            return refusal(503, f"all {taken} places are taken; try again when somebody has left")
        try:
            wanted = offer_of(await request.json())
        except ValueError as fault:
            return refusal(400, str(fault))
        self._beginning += 1
        try:
            return await self._begin(**wanted)
        except DfanerfError as fault:
            return refusal(400, str(fault))
        finally:
            self._beginning -= 1

    async def change(self, request: web.Request) -> web.Response:
        """Other settings while the session runs: some of {"avatar", "seed", "temperature", "lookahead_ms"} → all."""
        visit = self.visits.get(request.match_info["id"])
        if visit is None:
            return refusal(404, "no such session")
        try:
            wanted = changes_of(await request.json())
        except ValueError as fault:
            return refusal(400, str(fault))
        async with visit.changing:
            settings = visit.settings | wanted
            try:
                if settings["avatar"] != visit.settings["avatar"]:
                    visit.session.become(await self._chain(**settings))
                else:
                    wanted.pop("avatar", None)
                    await visit.session.tune(**wanted)
            except DfanerfError as fault:
                return refusal(400, str(fault))
            visit.settings = settings
        return web.json_response(settings)

    async def end(self, request: web.Request) -> web.Response:
        """The browser leaves."""
        visit = self.visits.get(request.match_info["id"])
        if visit is None:
            return refusal(404, "no such session")
        await visit.end("the browser left")
        return web.json_response({})

    async def audio(self, request: web.Request) -> web.Response:
        """A sound file, as the body, for the avatar to speak."""
        visit = self.visits.get(request.match_info["id"])
        if visit is None:
            return refusal(404, "no such session")
        most = self.config.most_upload_bytes
        too_long = refusal(413, f"the file is larger than {most / 1e6:g} MB")
        if (request.content_length or 0) > most:
            return too_long
        with tempfile.TemporaryDirectory(prefix="dfanerf") as folder:
            path = Path(folder) / "sound"
            size = 0
            with path.open("wb") as file:
                async for block in request.content.iter_chunked(1 << 16):
                    size += len(block)
                    if size > most:
                        return too_long
                    file.write(block)
            try:
                samples = await asyncio.to_thread(load_audio, path, self.config.most_upload_s)
            except AudioError as fault:
                return refusal(400, str(fault).replace(f"{path}: ", ""))
        await visit.speak(samples)
        return web.json_response({"seconds": len(samples) / 16000})

    async def _begin(self, sdp: str, avatar: str | None, **settings: Any) -> web.Response:
        settings["avatar"] = self.studio.names[0] if avatar is None else avatar
        chain = await self._chain(**settings)
        buffer_s = self.config.most_upload_s + 1.0
        session = LiveSession(chain, buffer_s=buffer_s, cushion_s=CUSHION_S, mark=self.mark)
        visit = Visit(session, self.config, settings, self._ended)
        self.visits[visit.id] = visit
        self.totals.sessions += 1
        try:
            answer = await visit.answer(sdp)
        except Exception as fault:  # noqa: BLE001 - what a browser writes can break a parser in any way; it is told
            await visit.end("its offer cannot be answered")
            LOG.info("offer refused: %s", fault)
            return refusal(400, f"the offer cannot be answered: {fault}")
        return web.json_response({"id": visit.id, "sdp": answer})

    async def _chain(self, avatar: str | None, seed: int, temperature: float, lookahead_ms: float) -> Chain:
        controls = MotionControls(temperature=temperature)
        return await asyncio.to_thread(self.studio.chain, avatar, seed, lookahead_ms, controls)

    def _ended(self, visit: Visit) -> None:
        if self.visits.pop(visit.id, None) is not None:
            self.totals.add(visit)
            self._leaving = {each for each in self._leaving if not each.gone.is_set()} | {visit}

    async def _lifetime(self, app: web.Application) -> AsyncIterator[None]:
        offer_own_address()
        encode_lightly()
        yield
        for visit in list(self.visits.values()):
            await visit.end("the server ends")
        waiting = [asyncio.ensure_future(visit.gone.wait()) for visit in self._leaving]
        if waiting:
            await asyncio.wait(waiting, timeout=LEAVING_S)


@contextlib.asynccontextmanager
async def serving(server: WebServer) -> AsyncIterator[str]:
    """Serve until the context ends; yields the address of the page.

    Raises:
        DfanerfError: the port is in use, or the address is not this machine's.
    """
    config = server.config
    runner = web.AppRunner(server.application(), access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, config.host, config.port, ssl_context=config.tls())
        try:
            await site.start()
        except OSError as fault:
            raise DfanerfError(
                f"cannot serve at {config.host}:{config.port} ({fault.strerror or fault}); choose another --port"
            ) from fault
        port = runner.addresses[0][1]
        host = f"[{config.host}]" if ":" in config.host else config.host
        yield f"{config.scheme}://{host}:{port}/"
    finally:
        await runner.cleanup()
