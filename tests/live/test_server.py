"""The server of the page, spoken to over HTTP and WebRTC: who is let in, what is served, what stays apart."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import subprocess
import threading
import wave
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

aiohttp = pytest.importorskip("aiohttp", reason="needs aiohttp: pip install 'dfanerf-rt[web]'")
pytest.importorskip("aiortc", reason="needs aiortc: pip install 'dfanerf-rt[web]'")

from dfanerf_rt.errors import AvatarError, DfanerfError  # noqa: E402
from dfanerf_rt.live.server.app import WebServer, serving  # noqa: E402
from dfanerf_rt.live.server.config import WebConfig  # noqa: E402
from dfanerf_rt.live.studio import Studio  # noqa: E402
from tests.live.head_avatar import write_head_avatar  # noqa: E402
from tests.live.web_client import Client, ToneTrack, offer, until, visiting  # noqa: E402
from tests.motion.small_person import small_person  # noqa: E402

TOKEN = "correct horse"


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Studio:
    return Studio(write_head_avatar(tmp_path_factory.mktemp("avatar") / "head.safetensors"))


def with_server(studio: Studio, work: Callable[[str, Any, WebServer], Awaitable[Any]], **settings: Any) -> Any:
    """Run ``work(address, http, server)`` while the server serves."""

    async def run() -> Any:
        server = WebServer(studio, WebConfig(port=0, **settings))
        async with serving(server) as address, aiohttp.ClientSession() as http:
            return await asyncio.wait_for(work(address, http, server), 240)

    outcome = asyncio.run(run())
    left = [thread.name for thread in threading.enumerate() if thread.name in ("live session", "render", "listen")]
    assert not left, "nothing of a session outlives the server"
    return outcome


def wav(seconds: float, frequency_hz: float = 500.0) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        tone = 12000 * np.sin(2 * np.pi * frequency_hz * np.arange(round(16000 * seconds)) / 16000)
        file.writeframes(tone.astype("<i2").tobytes())
    return out.getvalue()


def test_the_page_health_metrics_and_options(studio: Studio) -> None:
    async def work(address: str, http: Any, server: WebServer) -> None:
        for path, kind, holds in (
            ("", "text/html", "Hold to talk"),
            ("app.js", "text/javascript", "RTCPeerConnection"),
            ("style.css", "text/css", "prefers-color-scheme: dark"),
            ("icon.svg", "image/svg+xml", "<svg"),
        ):
            async with http.get(address + path) as response:
                assert response.status == 200 and response.content_type == kind
                assert holds in await response.text()
                assert "default-src 'none'" in response.headers["Content-Security-Policy"]
                assert response.headers["X-Content-Type-Options"] == "nosniff"
        async with http.get(address + "health") as response:
            assert await response.json() == {"status": "ok"}
        async with http.get(address + "api/options") as response:
            assert (await response.json())["avatars"] == ["head"]
        async with http.get(address + "metrics") as response:
            assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            text = await response.text()
        values = {line.split()[0]: float(line.split()[1]) for line in text.splitlines() if not line.startswith("#")}
        assert values["dfanerf_sessions"] == 0 and values["dfanerf_sessions_limit"] == 4
        assert values["process_resident_memory_bytes"] > 1e7
        families = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
        assert len(families) == len(set(families)) == 10

    with_server(studio, work)


def test_a_path_that_climbs_out_finds_nothing(studio: Studio) -> None:
    def ask(address: str, path: str) -> bytes:
        host, port = address.removeprefix("http://").rstrip("/").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as link:
            link.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
            return link.makefile("rb").read()

    async def work(address: str, http: Any, server: WebServer) -> None:
        for path in (
            "/../../../../etc/passwd",
            "/..%2f..%2f..%2fetc%2fpasswd",
            "/%2e%2e/%2e%2e/etc/passwd",
            "//etc/passwd",
            "/app.js/../../pipeline.py",
            "/web/../server/app.py",
            "/app.js%00.html",
        ):
            answer = await asyncio.to_thread(ask, address, path)
            assert answer.split()[1] in (b"404", b"400"), (path, answer[:80])
            assert b"root:" not in answer and b"import" not in answer

    with_server(studio, work)


def test_a_wrong_token_is_refused_and_the_right_one_becomes_a_cookie(studio: Studio) -> None:
    async def work(address: str, http: Any, server: WebServer) -> None:
        for path in ("", "app.js", "metrics", "api/options", "?token=wrong", "api/options?token=correct%20horse"):
            async with http.get(address + path) as response:
                assert response.status == 401 and "token" in (await response.json())["error"], path
        async with http.post(address + "api/sessions", json={"sdp": ""}) as response:
            assert response.status == 401
        async with http.get(address + "health") as response:
            assert response.status == 200
        async with http.get(address + "metrics", headers={"Authorization": f"Bearer {TOKEN}"}) as response:
            assert response.status == 200
        async with http.get(address + "metrics", headers={"Authorization": "Bearer wrong"}) as response:
            assert response.status == 401
        async with http.get(address, params={"token": TOKEN}, allow_redirects=False) as response:
            assert response.status == 303 and response.headers["Location"] == "/"
            cookie = response.headers["Set-Cookie"]
            assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
        headers = {"Cookie": cookie.split(";")[0]}
        async with http.get(address + "api/options", headers=headers) as response:
            assert response.status == 200

    with_server(studio, work, token=TOKEN)


def test_other_pages_and_other_names_are_refused(studio: Studio) -> None:
    async def work(address: str, http: Any, server: WebServer) -> None:
        for headers, said in (
            ({"Origin": "https://elsewhere.example"}, "refused"),
            ({"Origin": "null"}, "refused"),
            ({"Host": "rebound.example"}, "this machine alone"),
        ):
            async with http.post(address + "api/sessions", json={"sdp": ""}, headers=headers) as response:
                assert response.status == 403 and said in (await response.json())["error"]
        own = {"Origin": address.rstrip("/")}
        async with http.post(address + "api/sessions", json={}, headers=own) as response:
            assert response.status == 400, "let in, and then told what is missing"

    with_server(studio, work)


def test_what_is_no_offer_is_told(studio: Studio) -> None:
    async def work(address: str, http: Any, server: WebServer) -> None:
        sdp = await offer(Client(), None)
        for body, said in (
            (b"{", ""),
            (b"[]", "no JSON object"),
            ({}, "'sdp' is missing"),
            ({"sdp": "v=0"}, "offer"),
            ({"sdp": "nonsense \r\n" * 50}, "offer"),
            ({"sdp": sdp, "seed": -1}, "'seed'"),
            ({"sdp": sdp, "seed": 1.5}, "'seed'"),
            ({"sdp": sdp, "temperature": "hot"}, "'temperature'"),
            ({"sdp": sdp, "temperature": float("nan")}, "'temperature'"),
            ({"sdp": sdp, "lookahead_ms": 900}, "trained for 0 to 200 ms"),
            ({"sdp": sdp, "avatar": "../../etc/passwd"}, "no avatar"),
            ({"sdp": sdp, "avatar": 3}, "'avatar'"),
            ({"sdp": "x" * 300_000}, ""),
        ):
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            async with http.post(address + "api/sessions", data=data) as response:
                assert response.status in (400, 413), body
                assert said in (await response.json())["error"], (body, await response.text())
        assert not server.visits

    with_server(studio, work)


def test_uploads_are_bounded(studio: Studio) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(1 << 14):
            yield bytes(1 << 16)

    async def work(address: str, http: Any, server: WebServer) -> None:
        async with visiting(address, http) as client:
            url = f"{address}api/sessions/{client.id}/audio"
            host, port = address.removeprefix("http://").rstrip("/").split(":")
            # 1 GB is promised: the answer comes before any of it.
            reader, writer = await asyncio.open_connection(host, int(port))
            path = f"/api/sessions/{client.id}/audio"
            writer.write(f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000000000\r\n\r\n".encode())
            assert b" 413 " in await asyncio.wait_for(reader.readline(), 30)
            writer.close()
            # 1 GB comes without a promise: the answer comes when it is too much.
            try:
                async with http.post(url, data=endless()) as response:
                    assert response.status == 413
            except aiohttp.ClientConnectionError:
                pass  # the server hung up on what was still being sent
            for body, status, said in (
                (b"", 400, "empty"),
                (b"no sound at all" * 100, 400, "not a sound"),
                (wav(40.0), 400, "more than 30 s"),
            ):
                async with http.post(url, data=body) as response:
                    assert response.status == status and said in (await response.json())["error"]
            async with http.post(f"{address}api/sessions/nobody/audio", data=wav(0.1)) as response:
                assert response.status == 404
            assert client.peer.connectionState != "failed" and len(server.visits) == 1

    with_server(studio, work, most_upload_bytes=2_000_000, most_upload_s=30.0)


def test_past_the_limit_there_is_a_clear_message_and_then_room_again(studio: Studio) -> None:
    async def work(address: str, http: Any, server: WebServer) -> None:
        async with visiting(address, http) as first:
            async with http.post(address + "api/sessions", json={"sdp": await offer(Client(), None)}) as response:
                assert response.status == 503
                assert (await response.json())["error"].startswith("all 1 places are taken")
            async with http.delete(f"{address}api/sessions/{first.id}") as response:
                assert response.status == 200
            assert not server.visits
        async with visiting(address, http) as second:
            assert second.id in server.visits
        async with http.get(address + "metrics") as response:
            text = await response.text()
        assert "dfanerf_sessions_total 2" in text and "dfanerf_sessions_refused_total 1" in text

    with_server(studio, work, most_sessions=1)


def test_a_browser_that_vanishes_gives_its_place_back(studio: Studio) -> None:
    async def work(address: str, http: Any, server: WebServer) -> None:
        async with visiting(address, http) as client:
            await until(lambda: client.pictures, 60, "no picture came")
            visit = server.visits[client.id]
            client.pings = False
            await until(lambda: not server.visits, 60, "its place is still taken")
            assert visit.ended_because == "the browser vanished"
            await until(lambda: visit.session.report is not None, 30, "its session goes on")

    with_server(studio, work, silent_browser_s=3.0)


def test_a_browser_that_never_connects_gives_its_place_back(studio: Studio) -> None:
    async def work(address: str, http: Any, server: WebServer) -> None:
        async with http.post(address + "api/sessions", json={"sdp": await offer(Client(), None)}) as response:
            assert response.status == 200
        (visit,) = server.visits.values()
        await until(lambda: not server.visits, 60, "its place is still taken")
        assert "did not connect within 1 s" in visit.ended_because

    with_server(studio, work, connect_s=1.0)


def test_a_file_is_spoken_with_pictures(studio: Studio) -> None:
    async def work(address: str, http: Any, server: WebServer) -> None:
        async with visiting(address, http, seed=3, temperature=0.5, lookahead_ms=60) as client:
            await until(lambda: len(client.pictures) >= 5, 60, "no picture came")
            async with http.post(f"{address}api/sessions/{client.id}/audio", data=wav(1.0)) as response:
                assert (await response.json()) == {"seconds": 1.0}
            loud = lambda: int((np.abs(client.heard()) > 4000).sum())  # noqa: E731
            await until(lambda: loud() > 0.5 * 48000, 60, "the file is not heard")
            assert client.pictures[0].shape == (64, 64, 3)
            stats = [json.loads(message)["stats"] for message in client.messages]
            assert stats and {"fps", "latency_ms_p50", "dropped_frames", "dropped_by_network"} <= set(stats[-1])

    with_server(studio, work)


def test_settings_change_while_a_session_runs(tmp_path: Path) -> None:
    write_head_avatar(tmp_path / "a.safetensors", 64, small_person())
    write_head_avatar(tmp_path / "b.safetensors", 32)

    async def work(address: str, http: Any, server: WebServer) -> None:
        async def change(body: Any, session: str) -> tuple[int, Any]:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            async with http.patch(f"{address}api/sessions/{session}", data=data) as response:
                return response.status, await response.json()

        assert await change({"seed": 1}, "nobody") == (404, {"error": "no such session"})
        async with visiting(address, http, ToneTrack(500.0), seed=3) as client:
            await until(lambda: len(client.pictures) >= 5, 60, "no picture came")
            for body, said in (
                (b"{", "Expecting"),
                ([], "no JSON object"),
                ({}, "nothing is to change"),
                ({"sdp": "v=0"}, "'sdp' cannot be changed; there are avatar, seed, temperature, lookahead_ms"),
                ({"seed": -1}, "'seed' is no whole number"),
                ({"temperature": 9}, "'temperature' is no number from 0 to 4"),
                ({"temperature": float("nan")}, "'temperature' is no number"),
                ({"temperature": None}, "'temperature' is no number"),
                ({"lookahead_ms": True}, "'lookahead_ms' is no number"),
                ({"temperature": 0.5, "lookahead_ms": 900}, "trained for 0 to 200 ms"),
                ({"avatar": "../c"}, "no avatar '../c'; there are a, b"),
                ({"avatar": None}, "'avatar' is no text"),
            ):
                status, answer = await change(body, client.id)
                assert status == 400 and said in answer["error"], (body, answer)
            visit = server.visits[client.id]
            assert visit.settings == {"avatar": "a", "seed": 3, "temperature": 1.0, "lookahead_ms": 100.0}
            session = visit.session
            wanted = {"temperature": 0.5, "seed": None, "lookahead_ms": 60}
            status, settings = await change(wanted, client.id)
            assert status == 200 and settings == visit.settings
            assert settings["temperature"] == 0.5 and settings["lookahead_ms"] == 60 and settings["seed"] != 3
            await until(lambda: session._chain.encoder.lookahead_ms == 60.0, 30, "the look-ahead does not glide")
            seen, n_samples = len(client.pictures), client.n_samples
            assert (await change({"avatar": "b"}, client.id))[0] == 200
            await until(lambda: client.pictures[-1].shape == (32, 32, 3), 60, "the other avatar does not come")
            await until(lambda: client.n_samples > n_samples + 48000, 60, "the voice does not go on")
            assert len(client.pictures) > seen and len(server.visits) == 1 and visit.session is session
            status, answer = await change({"temperature": 1.0}, client.id)
            assert status == 400 and "temperature directs generated motion, not recorded" in answer["error"]

    with_server(Studio(tmp_path), work)


def strength(sound: np.ndarray, frequency_hz: float) -> float:
    """Share of the sound's energy within 20 Hz of a frequency."""
    power = np.abs(np.fft.rfft(sound * np.hanning(len(sound)))) ** 2
    frequencies_hz = np.fft.rfftfreq(len(sound), 1 / 48000)
    return float(power[np.abs(frequencies_hz - frequency_hz) < 20].sum() / power.sum())


@pytest.mark.slow
def test_four_sessions_stay_apart_and_share_the_weights(studio: Studio) -> None:
    tones_hz = (400.0, 650.0, 1000.0, 1500.0)

    async def work(address: str, http: Any, server: WebServer) -> list[np.ndarray]:
        async with (
            visiting(address, http, ToneTrack(tones_hz[0]), seed=0) as a,
            visiting(address, http, ToneTrack(tones_hz[1]), seed=1) as b,
            visiting(address, http, ToneTrack(tones_hz[2]), seed=2) as c,
            visiting(address, http, ToneTrack(tones_hz[3]), seed=3) as d,
        ):
            clients = (a, b, c, d)
            renderers = [visit.session._pipeline._renderer for visit in server.visits.values()]
            assert len({id(renderer._session) for renderer in renderers}) == 1  # type: ignore[attr-defined]
            await until(lambda: all(x.n_samples > 4 * 48000 for x in clients), 200, "too little came back")
            assert all(len(client.pictures) > 10 for client in clients)
            return [client.heard()[-2 * 48000 :] for client in clients]

    heard = with_server(studio, work, silent_browser_s=100.0, connect_s=100.0)
    for sound, own_hz in zip(heard, tones_hz, strict=True):
        shares = {tone_hz: strength(sound, tone_hz) for tone_hz in tones_hz}
        # On a busy machine the own tone has holes, which spread it; nothing of that lies at the others' tones.
        assert shares[own_hz] > 0.3, shares
        assert all(share < 0.03 * shares[own_hz] for tone_hz, share in shares.items() if tone_hz != own_hz), shares


def test_a_port_in_use_is_one_line(studio: Studio) -> None:
    async def run() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            config = WebConfig(port=taken.getsockname()[1])
            with pytest.raises(DfanerfError, match=r"cannot serve at 127\.0\.0\.1:.*in use.*another --port"):
                async with serving(WebServer(studio, config)):
                    pass

    asyncio.run(run())


def test_tls_with_a_certificate(studio: Studio, tmp_path: Path) -> None:
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    made += ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "certificate.pem")]
    subprocess.run(made, check=True, capture_output=True)

    async def work(address: str, http: Any, server: WebServer) -> None:
        assert address.startswith("https://")
        async with http.get(address, params={"token": TOKEN}, ssl=False, allow_redirects=False) as response:
            assert response.status == 303 and "Secure" in response.headers["Set-Cookie"]

    files = {"certificate": tmp_path / "certificate.pem", "key": tmp_path / "key.pem"}
    with_server(studio, work, token=TOKEN, **files)


def test_settings_that_contradict_each_other() -> None:
    for settings, said in (
        ({"host": "0.0.0.0"}, "give a secret"),
        ({"host": "192.0.2.1"}, "give a secret"),
        ({"host": "example.org"}, "give a secret"),
        ({"token": "short"}, "fewer than 8"),
        ({"certificate": Path("a")}, "go together"),
        ({"most_sessions": 0}, "at least 1"),
        ({"port": 70000}, "expected 0 to 65535"),
    ):
        with pytest.raises(DfanerfError, match=said):
            WebConfig(**settings)  # type: ignore[arg-type]
    assert WebConfig(host="::1").is_local and WebConfig(host="127.0.0.7").is_local


def test_a_studio_of_a_folder(tmp_path: Path) -> None:
    with pytest.raises(AvatarError, match="holds no avatar"):
        Studio(tmp_path)
    for name in ("b", "a"):
        write_head_avatar(tmp_path / f"{name}.safetensors")
    studio = Studio(tmp_path)
    assert studio.names == ["a", "b"]
    assert studio.chain("b").avatar is studio.chain("b", seed=4).avatar
    with pytest.raises(AvatarError, match="no avatar 'c'; there are a, b"):
        studio.chain("c")
