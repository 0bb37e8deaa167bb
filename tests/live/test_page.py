"""The page in a real browser: Debian's Chromium, driven by playwright, with a sound file as its microphone."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dfanerf_rt.clip.format import write_wav
from tests.live.head_avatar import write_head_avatar
from tests.motion.small_person import small_person

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
pytest.importorskip("aiortc", reason="needs aiortc: pip install 'dfanerf-rt[web]'")

REPOSITORY = Path(__file__).resolve().parents[2]
LIVE = [sys.executable, "-c", "import sys; from dfanerf_rt.cli.live import main; sys.exit(main())"]
FLAGS = [
    "--no-sandbox",
    "--allow-loopback-in-peer-connection",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
]
SIZES = {"desktop": (1280, 800), "phone": (390, 844)}
FIGURES = """async () => {
  const {frames: made, t_s: madeS} = visit.server.stats;
  const out = {frames: 0, energy: 0, made, madeS, atMs: performance.now()};
  (await visit.peer.getStats()).forEach((row) => {
    if (row.type === "inbound-rtp" && row.kind === "video") out.frames = row.framesDecoded;
    if (row.type === "inbound-rtp" && row.kind === "audio") out.energy = row.totalAudioEnergy;
  });
  return out;
}"""


@contextmanager
def serving(*arguments: str) -> Iterator[str]:
    """``dfanerf-live --web`` on a free port; yields its address."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [*LIVE, *arguments, "--web", "--port", "0"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r"open (\S+) in a browser", line)
        assert found, line + process.stderr.read()
        yield found.group(1)
    finally:
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        print(said)
    assert process.returncode == 0, "Ctrl-C hangs up and ends in order"


@pytest.fixture(scope="module")
def avatar(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_head_avatar(tmp_path_factory.mktemp("avatar") / "head.safetensors", width=128))


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The browser; its microphone says beeps."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("needs chromium (Debian: apt install chromium)")
    beeps = np.zeros(48000, np.float32)
    for start in range(0, 48000, 16000):
        beeps[start : start + 8000] = 0.4 * np.sin(np.arange(8000) * 0.25)
    sound = tmp_path_factory.mktemp("microphone") / "beeps.wav"
    write_wav(sound, beeps)
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=program, args=[*FLAGS, f"--use-file-for-fake-audio-capture={sound}"]
        )
        yield browser
        browser.close()


@contextmanager
def opened(chromium: Any, address: str, **context: Any) -> Iterator[Any]:
    """The page; no error may come in its console."""
    with chromium.new_context(permissions=["microphone"], **context) as browsing:
        page = browsing.new_page()
        page.set_default_timeout(60_000)
        faults: list[str] = []
        page.on("pageerror", lambda fault: faults.append(str(fault)))
        page.goto(address)
        yield page
        assert not faults


def status(page: Any, text: str) -> None:
    playwright.expect(page.locator("#status")).to_contain_text(text, timeout=60_000)


def wait(page: Any, condition: str) -> None:
    """Until it holds; playwright's own way needs an eval, which the page's policy forbids."""
    deadline = time.monotonic() + 60
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, condition
        time.sleep(0.1)


def picture_of(page: Any, name: str, folder: Path) -> None:
    """A screenshot, kept where DFANERF_SCREENSHOTS says."""
    page.screenshot(path=Path(os.environ.get("DFANERF_SCREENSHOTS", folder)) / f"{name}.png", full_page=True)


def test_speak_and_the_avatar_speaks(chromium: Any, avatar: str, tmp_path: Path) -> None:
    with serving(avatar) as address, opened(chromium, address) as page:
        status(page, "Ready")
        assert page.locator("#avatars option").all_text_contents() == ["head"]
        page.click("#start")
        status(page, "Live")
        wait(page, "document.getElementById('avatar').videoWidth === 128")
        wait(page, "document.getElementById('fps').textContent.endsWith('fps')")
        wait(page, "document.getElementById('level').value > 0.3")
        wait(page, "document.getElementById('latency').textContent.endsWith('ms')")
        deadline = time.monotonic() + 60
        while (now := page.evaluate(FIGURES))["energy"] < 0.01 and time.monotonic() < deadline:
            time.sleep(0.2)
        assert now["energy"] >= 0.01, "the voice comes back"
        picture_of(page, "live", tmp_path)
        page.click("#start")
        status(page, "Stopped")
        assert page.evaluate("visit === null && document.getElementById('avatar').srcObject === null")
        metrics = page.request.get(address + "metrics").text()
        assert "dfanerf_sessions 0\n" in metrics and "dfanerf_sessions_total 1\n" in metrics


def test_keyboard_push_to_talk_and_a_file(chromium: Any, avatar: str, tmp_path: Path) -> None:
    write_wav(tmp_path / "said.wav", (0.3 * np.sin(np.arange(24000) * 0.2)).astype(np.float32))
    enabled = "visit.microphone.getAudioTracks()[0].enabled"
    with serving(avatar) as address, opened(chromium, address) as page:
        page.check("input[value=push]")
        page.locator("h1").click()
        page.keyboard.press("s")
        status(page, "Live")
        assert page.evaluate(enabled) is False and page.locator("#talk").is_enabled()
        page.locator("h1").click()
        page.keyboard.down("Space")
        assert page.evaluate(enabled) is True and page.locator("#talk").get_attribute("aria-pressed") == "true"
        page.keyboard.up("Space")
        assert page.evaluate(enabled) is False and page.locator("#talk").get_attribute("aria-pressed") == "false"
        page.check("input[value=open]")
        assert page.evaluate(enabled) is True and page.locator("#talk").is_disabled()
        page.set_input_files("#file", tmp_path / "said.wav")
        status(page, "Speaking said.wav (1.5 s)")
        status(page, "has been spoken")
        (tmp_path / "no.wav").write_bytes(b"no sound")
        page.set_input_files("#file", tmp_path / "no.wav")
        status(page, "no.wav cannot be spoken")
        page.keyboard.press("Escape")
        page.locator("h1").click()
        page.keyboard.press("s")
        status(page, "Stopped")


def test_settings_are_in_force_while_it_runs(chromium: Any, tmp_path: Path) -> None:
    write_head_avatar(tmp_path / "a.safetensors", 128, small_person())
    write_head_avatar(tmp_path / "b.safetensors", 64)
    with serving(str(tmp_path)) as address, opened(chromium, address) as page:
        page.click("summary")
        page.click("#start")
        status(page, "Live: speak")
        wait(page, "document.getElementById('avatar').videoWidth === 128")
        begun = page.evaluate("visit.id")
        for name, value in (("temperature", "0.4"), ("lookahead", "40"), ("seed", "12")):
            page.evaluate("say('')")
            page.locator(f"#{name}").fill(value)
            page.locator(f"#{name}").blur()
            status(page, "the new setting is in force")
        page.evaluate("say('')")
        page.locator("#seed").fill("-3")
        page.locator("#seed").blur()
        status(page, "Not changed: 'seed' is no whole number")
        page.select_option("#avatars", "b")
        wait(page, "document.getElementById('avatar').videoWidth === 64")
        status(page, "the new setting is in force")
        energy = page.evaluate(FIGURES)["energy"]
        page.wait_for_timeout(1500)
        assert page.evaluate(FIGURES)["energy"] > energy, "the voice goes on"
        assert page.evaluate("visit.id") == begun


def test_a_second_person_past_the_limit_is_told(chromium: Any, avatar: str) -> None:
    with serving(avatar, "--sessions", "1") as address, opened(chromium, address) as first:
        first.click("#start")
        status(first, "Live")
        with opened(chromium, address) as second:
            second.click("#start")
            status(second, "all 1 places are taken")
        first.click("#start")
        with opened(chromium, address) as third:
            third.click("#start")
            status(third, "Live")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_the_page_fits_and_names_everything(chromium: Any, avatar: str, size: str, scheme: str, tmp_path: Path) -> None:
    width, height = SIZES[size]
    with serving(avatar) as address:
        look = {"viewport": {"width": width, "height": height}, "color_scheme": scheme}
        with opened(chromium, address, **look) as page:
            wait(page, "document.querySelectorAll('#avatars option').length === 1")
            picture_of(page, f"{size}-{scheme}", tmp_path)
            page.click("summary")
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "nothing is cut off"
            unnamed = page.evaluate(
                """() => [...document.querySelectorAll("button, input, select, meter, video")].filter((element) =>
                     !element.labels?.length && !element.ariaLabel && !element.textContent.trim()).map((e) => e.id)"""
            )
            assert unnamed == []
            ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
            light = sum(map(int, re.findall(r"\d+", ground)[:3])) > 384
            assert light == (scheme == "light")
            small = page.evaluate(
                """() => [...document.querySelectorAll("button")].filter((b) => b.getBoundingClientRect().height < 44)
                     .map((b) => b.id)"""
            )
            assert small == [], "large enough for a finger"
            picture_of(page, f"{size}-{scheme}-settings", tmp_path)


@pytest.mark.slow
def test_30_seconds_of_video_and_sound(chromium: Any) -> None:
    with serving("presenter") as address, opened(chromium, address) as page:
        page.click("#start")
        status(page, "Live")
        wait(page, "document.getElementById('avatar').videoWidth === 256")
        page.wait_for_timeout(2_000)
        before = page.evaluate(FIGURES)
        page.wait_for_timeout(30_000)
        after = page.evaluate(FIGURES)
        fps = 1000 * (after["frames"] - before["frames"]) / (after["atMs"] - before["atMs"])
        made = (after["made"] - before["made"]) / (after["madeS"] - before["madeS"])
        latency, dropped = (page.locator(name).inner_text() for name in ("#latency", "#drops"))
        print(f"{fps:.2f} fps, {made:.2f} of them new; latency {latency}, dropped {dropped}")
        assert fps >= 24.0
        assert after["energy"] > before["energy"], "the voice comes back"
