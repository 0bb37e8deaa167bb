"""The line of status, and the doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dfanerf_rt.cli import live_doctor
from dfanerf_rt.cli.live import main
from dfanerf_rt.cli.live_status import report_line, reporting, status_line
from dfanerf_rt.live.chain import load_chain
from dfanerf_rt.live.outlets import SinkReport
from dfanerf_rt.live.stats import LiveReport
from tests.live.head_avatar import write_head_avatar


def line(**changes: Any) -> dict[str, Any]:
    sinks = {"mp4": SinkReport("mp4", 20, 0, 0, 2, None).as_json()}
    plain: dict[str, Any] = {"t_s": 12.34, "fps": 25.0, "latency_ms_p50": 119.6, "latency_ms_p95": 131.2}
    plain |= {"dropped_frames": 0, "dropped_audio_samples": 0, "queues": {"requests": 1, "media": 3}, "sinks": sinks}
    return plain | changes


def test_the_status_is_one_line_with_all_that_matters() -> None:
    assert status_line(line()) == (
        "   12.3 s  25.0 fps  latency 120/131 ms p50/p95  queues requests 1 media 3 mp4 2  dropped 0 frames"
    )
    lost = {"rtmp": SinkReport("rtmp", 20, 7, 160, 256, None).as_json()}
    worse = status_line(line(latency_ms_p50=None, dropped_frames=3, dropped_audio_samples=8000, sinks=lost))
    assert "latency -" in worse and worse.endswith("dropped 3 frames, 7 by rtmp, 0.5 s of sound")


def test_a_lost_sink_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sinks = {"rtmp": SinkReport("rtmp", 20, 0, 0, 0, "the streaming server hung up").as_json()}
    with reporting(tmp_path / "deep" / "s.jsonl", "hello") as report:
        report(line(sinks=sinks))
        report(line(sinks=sinks))
    assert capsys.readouterr().err.count("rtmp ended: the streaming server hung up; the others go on") == 1
    assert len((tmp_path / "deep" / "s.jsonl").read_text().splitlines()) == 2


def test_the_report_names_every_sink() -> None:
    sinks = (SinkReport("window", 50, 0, 0, 0, None), SinkReport("mp4", 50, 0, 0, 0, None))
    report = LiveReport(50, 0, 0, 2.0, 2.1, 0.1, 25.0, 120.0, 130.0, 10.0, 11.0, sinks)
    said = report_line(report, Path("a.mp4"), "generated", realtime=True)
    assert said.startswith("window, a.mp4: 2.0 s, 50 frames at 25.0 fps, 0 dropped, sound to picture 120 ms p50")
    assert "sound to picture" not in report_line(report, None, "still", realtime=False)


def test_the_doctor_looks_at_everything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    avatar = write_head_avatar(tmp_path / "head.safetensors")
    status = main([str(avatar), "--doctor"])
    said = capsys.readouterr().out
    for what in ("device", "start", "speed", "latency", "microphone", "loudspeaker", "window", "web page", "virtual"):
        assert f" {what}" in said
    assert "64x64:" in said and "fps rendered" in said
    assert status == (0 if said.endswith("this machine can speak live\n") else 2)

    monkeypatch.setattr(live_doctor, "FRAME_MS", 0.001)
    findings = {finding.what: finding for finding in live_doctor.speed(load_chain(avatar))}
    assert findings["speed"].needed and "try --size 32" in findings["speed"].line()
