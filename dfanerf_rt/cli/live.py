"""``dfanerf-live [AVATAR] (--mic | --audio FILE | --web)``: the avatar speaks what it hears, in real time."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import tyro

if TYPE_CHECKING:
    from dfanerf_rt.live.pipeline import LivePipeline
    from dfanerf_rt.live.sinks.choice import SinkChoice
    from dfanerf_rt.live.stages import AudioSource


WEB_OPTIONS = ("avatar", "web", "host", "port", "token", "certificate", "key", "sessions", "size", "mark")


@dataclass(frozen=True)
class LiveCommand:
    """Let an avatar speak what a microphone, a sound file, a pipe or a browser says, in real time. Ctrl-C finishes the
    file and ends."""

    avatar: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[AVATAR]")] = "presenter"
    """Avatar file, or 'presenter', the bundled one."""
    mic: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Listen to the microphone."""
    audio: Path | None = None
    """Listen to a sound or video file instead, at the pace at which it would be spoken. '-' is standard input: WAV, or
    raw PCM of signed 16-bit little-endian samples, of --rate and --channels."""
    web: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Serve a page that sends its microphone and sees the avatar, to several browsers. AVATAR may be a folder then."""
    host: str = "127.0.0.1"
    """With --web: the address to serve at. Any but this machine's own needs a token."""
    port: int = 8090
    """With --web: the port; 0 takes a free one."""
    token: str | None = None
    """With --web: a secret that browsers have to know; or set DFANERF_TOKEN, which other users do not see."""
    certificate: Path | None = None
    """With --web: PEM file to serve over TLS with, without which browsers elsewhere give no microphone."""
    key: Path | None = None
    """With --web: PEM file with the certificate's key."""
    sessions: int = 4
    """With --web: browsers at once."""
    rate: int | None = None
    """With --audio -: samples a second of raw PCM, 16000 where it is not given. A WAV says its own."""
    channels: int | None = None
    """With --audio -: channels of raw PCM, 1 where it is not given."""
    device: str | None = None
    """Microphone, by number or by a part of its name; see --list-devices."""
    list_devices: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print microphones and loudspeakers, and end."""
    doctor: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Check device, sound, speed and what is installed, say what to change, and end."""
    out: Path | None = None
    """Record picture and sound into this MP4. Sinks go together: --out, --window, --voice, --rtmp, --camera."""
    window: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Show the avatar in a window; Q, Escape or closing it ends."""
    voice: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Play the avatar's voice, as late as its lips. With --mic use headphones, or the microphone hears it."""
    voice_device: str | None = None
    """Loudspeaker, by number or by a part of its name; see --list-devices."""
    rtmp: str | None = None
    """Stream to this address, like rtmp://HOST/APPLICATION/KEY."""
    camera: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Be a virtual camera that other programs can choose."""
    camera_device: str | None = None
    """The virtual camera's device, like /dev/video10; the first free one where it is not given."""
    stats: Path | None = None
    """Write one JSON object a second into this file: frames, latency, queues, drops, sinks, memory."""
    duration: float | None = None
    """End after so many seconds of sound."""
    motion: Literal["generated", "recorded", "still"] | None = None
    """Head pose and blinks: generated from the sound, replayed from the avatar's own clip, or held still. Generated
    where it is not given, if the avatar can; else recorded."""
    size: int | None = None
    """Width of the picture in px; the avatar's own where it is not given."""
    seed: int | None = None
    """Of generated motion, 0 where it is not given: the same seed and sound give the same motion. Of recorded motion,
    where to begin; at its beginning where it is not given."""
    temperature: float = 1.0
    """How much chance there is in generated motion: 1 moves as the person does, 0 hardly."""
    look_at: tuple[float, float] | None = None
    """Where generated motion turns the head: degrees to the right of the picture, and downwards, from where the person
    usually looks."""
    hold_still: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Generated motion keeps to the person's usual pose; eyes go on blinking."""
    lookahead_ms: float = 100.0
    """How much future sound a frame waits for, 0 to 200: more makes the lips truer, and the avatar later."""
    mark: bool = True
    """Draw a small visible mark 'synthetic'. The file's metadata says it in any case."""
    fast: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """With --audio: as fast as the machine can, no frame dropped."""


def run(command: LiveCommand) -> int:
    """Run until the sound ends."""
    if command.list_devices:
        return _print_devices()
    if command.doctor:
        from dfanerf_rt.cli.live_doctor import examine

        return examine(command.avatar, command.size, command.lookahead_ms)
    _check(command)
    if command.web:
        from dfanerf_rt.cli.live_web import serve

        return serve(command)
    source = _source(command)
    try:
        return _speak(command, source)
    finally:
        source.stop()


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``dfanerf-live``; returns the exit status."""
    from dfanerf_rt.cli.main import guarded, parse

    return guarded("dfanerf-live", lambda: run(parse(LiveCommand, "dfanerf-live", arguments)))


def _speak(command: LiveCommand, source: AudioSource) -> int:
    from dfanerf_rt.cli.live_status import print_lost_sinks, report_line, reporting
    from dfanerf_rt.live.chain import MotionControls, load_chain
    from dfanerf_rt.live.pipeline import LiveConfig, LivePipeline
    from dfanerf_rt.live.sinks.choice import open_sinks

    controls = MotionControls(command.temperature, command.look_at, command.hold_still)
    chain = load_chain(
        command.avatar,
        command.size,
        command.motion,
        command.seed,
        lookahead_ms=command.lookahead_ms,
        controls=controls,
    )
    width, height = chain.renderer.width, chain.renderer.height
    asked: list[LivePipeline] = []
    sinks = open_sinks(_sinks(command), width, height, on_close=lambda: asked[0].stop())
    config = LiveConfig(realtime=not command.fast)
    pipeline = LivePipeline(source, chain.encoder, chain.motion, chain.renderer, sinks, config)
    asked.append(pipeline)
    heard = "the microphone" if command.mic else "standard input" if _from_pipe(command) else str(command.audio)
    with _stop_on_signal(pipeline), reporting(command.stats, f"listening to {heard}; Ctrl-C ends") as on_stats:
        report = pipeline.run(command.duration, on_stats)
    print(report_line(report, command.out, chain.motion_name, realtime=not command.fast), file=sys.stderr)
    return print_lost_sinks(report)


def _check(command: LiveCommand) -> None:
    from dfanerf_rt.cli.render import check_out
    from dfanerf_rt.errors import DfanerfError

    if [command.mic, command.audio is not None, command.web].count(True) != 1:
        raise DfanerfError("give exactly one of --mic, --audio FILE and --web")
    if command.web:
        _check_web(command)
    if command.fast and command.mic:
        raise DfanerfError("--fast goes with --audio: nobody speaks faster than real time into a microphone")
    if command.device is not None and not command.mic:
        raise DfanerfError("--device goes with --mic")
    if not _from_pipe(command) and (command.rate is not None or command.channels is not None):
        raise DfanerfError("--rate and --channels go with --audio -: files and microphones say their own")
    if _from_pipe(command) and sys.stdin.isatty():
        raise DfanerfError("--audio - reads a pipe, like: espeak-ng --stdout 'Good day' | dfanerf-live --audio -")
    if command.duration is not None and not command.duration > 0:
        raise DfanerfError(f"--duration is {command.duration}, expected a positive number of seconds")
    if command.voice_device is not None and not command.voice:
        raise DfanerfError("--voice-device goes with --voice")
    if command.camera_device is not None and not command.camera:
        raise DfanerfError("--camera-device goes with --camera")
    live_only = [name for name in ("window", "voice", "camera", "rtmp") if getattr(command, name)]
    if command.fast and live_only:
        raise DfanerfError(f"--fast goes with --out alone: --{live_only[0]} shows what happens now")
    if command.out is not None:
        check_out(command.out)


def _check_web(command: LiveCommand) -> None:
    """Options that say nothing to a page are refused, so that nobody waits for what they promise."""
    from dfanerf_rt.errors import DfanerfError

    for field in fields(LiveCommand):
        if field.name in WEB_OPTIONS or getattr(command, field.name) == field.default:
            continue
        raise DfanerfError(f"--{field.name.replace('_', '-')} does not go with --web: the page chooses, or has it")


def _sinks(command: LiveCommand) -> SinkChoice:
    from dfanerf_rt.live.sinks.choice import SinkChoice

    chosen = {field.name: getattr(command, field.name) for field in fields(SinkChoice)}
    return SinkChoice(**chosen)


def _from_pipe(command: LiveCommand) -> bool:
    return command.audio is not None and str(command.audio) == "-"


def _source(command: LiveCommand) -> AudioSource:
    from dfanerf_rt.audio.sources import FileSource, PcmSource, ReturningMicrophone

    if _from_pipe(command):
        rate_hz = 16_000 if command.rate is None else command.rate
        channels = 1 if command.channels is None else command.channels
        stream = cast(BufferedReader, sys.stdin.buffer)
        return PcmSource(stream, rate_hz, channels, realtime=not command.fast)
    if command.audio is not None:
        return FileSource(command.audio, realtime=not command.fast)
    return ReturningMicrophone(command.device, on_change=lambda line: print(f"dfanerf-live: {line}", file=sys.stderr))


def _print_devices() -> int:
    from dfanerf_rt.audio.sources import list_devices, list_loudspeakers

    for what, devices in (("microphones", list_devices()), ("loudspeakers", list_loudspeakers())):
        print(f"{what}:" if devices else f"no {what} found")
        for device in devices:
            default = "  (default)" if device.is_default else ""
            print(f"{device.index:3}  {device.name}  {device.rate_hz} Hz, {device.channels} channels{default}")
    return 0


@contextmanager
def _stop_on_signal(pipeline: LivePipeline) -> Iterator[None]:
    """The first Ctrl-C (or SIGTERM) ends the sound and finishes the file; a second one gives up."""

    def handle(code: int, frame: object) -> None:
        pipeline.stop()
        for each in previous:
            signal.signal(each, signal.default_int_handler)

    previous = {code: signal.signal(code, handle) for code in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for code, handler in previous.items():
            signal.signal(code, handler)
