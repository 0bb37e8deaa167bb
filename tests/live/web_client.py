"""A browser without a page: aiortc as a client, with a tone as its microphone."""

from __future__ import annotations

import asyncio
import fractions
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import av
import numpy as np
from aiohttp import ClientSession
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError


class ToneTrack(MediaStreamTrack):
    """A tone, 20 ms of it every 20 ms."""

    kind = "audio"

    def __init__(self, frequency_hz: float) -> None:
        super().__init__()
        self.frequency_hz, self.n, self.began_s = frequency_hz, 0, time.monotonic()

    async def recv(self) -> av.AudioFrame:
        due_s = self.began_s + self.n / 48000
        await asyncio.sleep(max(due_s - time.monotonic(), 0.0))
        samples = 12000 * np.sin(2 * np.pi * self.frequency_hz * (self.n + np.arange(960)) / 48000)
        frame = av.AudioFrame.from_ndarray(samples.astype(np.int16)[None], "s16", "mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, self.n, fractions.Fraction(1, 48000)
        self.n += 960
        return frame


class Client:
    """Keeps what comes back."""

    def __init__(self) -> None:
        self.peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.channel = self.peer.createDataChannel("dfanerf")
        self.messages: list[str] = []
        self.channel.on("message", self.messages.append)
        self.pictures: list[np.ndarray] = []
        self.sound: list[np.ndarray] = []
        self.n_samples = 0
        self.id = ""
        self.tasks: list[asyncio.Task[None]] = []
        self.pings = True
        self.peer.on("track", lambda track: self.tasks.append(asyncio.ensure_future(self.take(track))))

    async def take(self, track: MediaStreamTrack) -> None:
        while True:
            try:
                frame: Any = await track.recv()
            except MediaStreamError:
                return
            if isinstance(frame, av.VideoFrame):
                self.pictures.append(frame.to_ndarray(format="rgb24"))
            else:
                self.sound.append(frame.to_ndarray().reshape(-1, 2)[:, 0])
                self.n_samples += len(self.sound[-1])

    async def ping(self) -> None:
        while self.pings:
            if self.channel.readyState == "open":
                self.channel.send("ping")
            await asyncio.sleep(0.2)

    def heard(self) -> np.ndarray:
        """(n,) int16 at 48 kHz."""
        return np.concatenate(self.sound) if self.sound else np.zeros(0, np.int16)


async def offer(client: Client, microphone: MediaStreamTrack | None) -> str:
    """The offer of a client that sends this microphone."""
    if microphone is None:
        client.peer.addTransceiver("audio", direction="recvonly")
    else:
        client.peer.addTrack(microphone)
    client.peer.addTransceiver("video", direction="recvonly")
    await client.peer.setLocalDescription(await client.peer.createOffer())
    return str(client.peer.localDescription.sdp)


@asynccontextmanager
async def visiting(
    address: str, http: ClientSession, microphone: MediaStreamTrack | None = None, **wishes: Any
) -> AsyncIterator[Client]:
    """A client that has been let in."""
    client = Client()
    try:
        body = {"sdp": await offer(client, microphone), **wishes}
        async with http.post(f"{address}api/sessions", json=body) as response:
            answer = await response.json()
            assert response.status == 200, answer
        client.id = answer["id"]
        await client.peer.setRemoteDescription(RTCSessionDescription(answer["sdp"], "answer"))
        client.tasks.append(asyncio.ensure_future(client.ping()))
        yield client
    finally:
        client.pings = False
        await client.peer.close()
        for task in client.tasks:
            task.cancel()


async def until(condition: Any, timeout_s: float, what: str) -> None:
    """Wait for something that happens elsewhere."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, what
        await asyncio.sleep(0.05)
