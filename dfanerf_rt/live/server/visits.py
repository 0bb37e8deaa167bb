"""One browser's session, from its offer until it leaves or vanishes, and the few of them that there may be."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections.abc import Callable, Coroutine
from typing import Any

import aioice.ice
import numpy as np
from aiortc import RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from dfanerf_rt.live.server.config import WebConfig
from dfanerf_rt.live.server.tracks import MicrophoneReader, PictureTrack, VoiceTrack
from dfanerf_rt.live.session import LiveSession

LOG = logging.getLogger("dfanerf.web")
TOLD_EVERY_S = 0.5
MOST_MESSAGE_CHARACTERS = 1000
OWN_ADDRESS = "127.0.0.1"


def offer_own_address() -> None:
    """Let this machine's own address be one at which a browser can find the server.

    aioice leaves it out, so that a browser on the same machine finds nothing where there is no network.
    """
    listed = aioice.ice.get_host_addresses
    if getattr(listed, "offers_own_address", False):
        return

    def with_own(use_ipv4: bool, use_ipv6: bool) -> list[str]:
        addresses = list(listed(use_ipv4, use_ipv6))
        return [OWN_ADDRESS, *addresses] if use_ipv4 else addresses

    with_own.offers_own_address = True  # type: ignore[attr-defined]
    aioice.ice.get_host_addresses = with_own


class Visit:
    """A browser and its :class:`LiveSession`.

    Args:
        session: not started yet.
        config: see :class:`WebConfig`.
        settings: what the session was begun with, by name.
        on_end: called once when the visit is over, with the visit.
    """

    def __init__(
        self, session: LiveSession, config: WebConfig, settings: dict[str, Any], on_end: Callable[[Visit], None]
    ) -> None:
        self.id = secrets.token_urlsafe(16)
        self.session = session
        self.settings = settings
        """Those in force."""
        self.changing = asyncio.Lock()
        """Held by whoever changes them."""
        self.latest: dict[str, Any] = {}
        """The last line of statistics."""
        self.ended_because = ""
        self.speaks_file = False
        self.gone = asyncio.Event()
        """Set when nothing of the visit runs any more."""
        self._config, self._on_end = config, on_end
        self._peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._picture, self._voice = PictureTrack(), VoiceTrack()
        self._channel: RTCDataChannel | None = None
        self._heard_s = time.monotonic()
        self._connected = False
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def dropped(self) -> int:
        """Pictures and pieces of voice that the network was too slow for."""
        return self._picture.dropped + self._voice.dropped + self.session.dropped_moments

    async def answer(self, sdp: str) -> str:
        """Take a browser's offer, begin, and give the answer.

        Raises:
            ValueError: an offer that aiortc cannot read.
        """
        peer = self._peer
        peer.on("track", self._on_track)
        peer.on("datachannel", self._on_channel)
        peer.on("connectionstatechange", self._on_state)
        await peer.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
        kinds = {transceiver.kind for transceiver in peer.getTransceivers()}
        if kinds != {"audio", "video"}:
            raise ValueError(f"the offer has {' and '.join(sorted(kinds)) or 'nothing'}, expected audio and video")
        peer.addTrack(self._picture)
        peer.addTrack(self._voice)
        await peer.setLocalDescription(await peer.createAnswer())
        await self.session.start()
        self._begin(self._pump())
        self._begin(self._watch())
        return str(peer.localDescription.sdp)

    async def speak(self, samples: np.ndarray) -> None:
        """Speak (n,) float32 samples at 16 kHz in place of the microphone, and of what was being said."""
        self.session.clear_buffer()
        self.speaks_file = True
        await self.session.push_audio(samples)
        self.session.end_segment()

    def clear(self) -> None:
        """Be silent."""
        self.speaks_file = False
        self.session.clear_buffer()

    async def end(self, reason: str) -> None:
        """Hang up; a second call does nothing."""
        if self.ended_because:
            return
        self.ended_because = reason
        self.session.stop()  # before anything is waited for, so that it ends even where the server ends first
        LOG.info("session %s: %s", self.id[:6], reason)
        self._on_end(self)
        current = asyncio.current_task()
        for task in self._tasks:
            if task is not current:
                task.cancel()
        self._picture.stop()
        self._voice.stop()
        try:
            await self._peer.close()
            await self.session.aclose()
        except Exception:  # it is over in any case, and this is the last one to know
            LOG.exception("session %s ended with a fault", self.id[:6])
        finally:
            self.gone.set()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except asyncio.CancelledError:
                raise
            except Exception as fault:
                LOG.exception("session %s", self.id[:6])
                await self.end(f"a fault of the program: {fault}")

        task = asyncio.ensure_future(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pump(self) -> None:
        async for moment in self.session:
            if self._connected:  # nobody has missed what came before
                self._picture.show(moment)
                self._voice.say(moment)
            if self.speaks_file and not self.session.waiting_s:
                self.speaks_file = False
        await self.end("the session ended")

    async def _listen(self, track: MediaStreamTrack) -> None:
        reader = MicrophoneReader()
        while True:
            try:
                frame: Any = await track.recv()
            except MediaStreamError:
                return
            samples = reader.samples(frame)
            if not self.speaks_file:
                self.session.push_live(samples)

    async def _watch(self) -> None:
        """Tell the browser how it goes, and see whether it is still there."""
        began_s = time.monotonic()
        while not self.ended_because:
            await asyncio.sleep(TOLD_EVERY_S)
            now_s = time.monotonic()
            self.latest = self.session.stats() | {
                "dropped_by_network": self.dropped,
                "waiting_s": self.session.waiting_s,
            }
            if self._channel is not None and self._channel.readyState == "open":
                self._channel.send(json.dumps({"stats": self.latest, "speaks_file": self.speaks_file}))
            if not self._connected and now_s - began_s > self._config.connect_s:
                await self.end(f"the browser did not connect within {self._config.connect_s:.0f} s")
            elif self._connected and now_s - self._heard_s > self._config.silent_browser_s:
                await self.end("the browser vanished")

    def _on_track(self, track: MediaStreamTrack) -> None:
        if track.kind == "audio":
            self._begin(self._listen(track))

    def _on_channel(self, channel: RTCDataChannel) -> None:
        self._channel = channel
        channel.on("message", self._on_message)

    def _on_message(self, message: str | bytes) -> None:
        self._heard_s = time.monotonic()
        if isinstance(message, str) and len(message) <= MOST_MESSAGE_CHARACTERS and message == "clear":
            self.clear()

    async def _on_state(self) -> None:
        state = self._peer.connectionState
        if state == "connected":
            self._connected, self._heard_s = True, time.monotonic()
        elif state in ("failed", "closed"):
            await self.end(f"the connection is {state}")
