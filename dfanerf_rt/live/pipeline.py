"""Sound in, speaking pictures out: three threads and one for each sink, bounded buffers, one clock.

::

    source ring ─▶ listen ──(requests: drop oldest)──▶ render ──(media: block)──▶ deliver ─▶ outlet ─▶ sink
                     └───────────── sound (media: block) ────────────────────────▶    └──▶ outlet ─▶ sink

The clock is the index of a sound sample: frame k belongs to sample ``k * FRAME_SAMPLES``. In real time a frame whose
turn has passed is dropped and counted, never queued. A sink that falls behind loses its own pictures, and after all
of them its own sound, counted by its outlet; one that dies is reported, and the others go on until none is left.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from dfanerf_rt.audio.ring import CHUNK_SAMPLES, SAMPLE_RATE_HZ, AudioChunk
from dfanerf_rt.live.frozen import frozen_garbage
from dfanerf_rt.live.leaving import ended_before_python
from dfanerf_rt.live.mark import draw_mark
from dfanerf_rt.live.outlets import Outlet
from dfanerf_rt.live.queues import BoundedQueue, WhenFull
from dfanerf_rt.live.stages import (
    FRAME_SAMPLES,
    AudioSource,
    Frame,
    FrameRequest,
    Motion,
    Renderer,
    Sink,
    SpeechEncoder,
)
from dfanerf_rt.live.stats import LiveReport, LiveStats

STATS_EVERY_S = 1.0


@dataclass(frozen=True)
class LiveConfig:
    """How the pipeline treats time."""

    realtime: bool = True
    """Drop late frames. Otherwise every frame is rendered, and the stages wait for each other."""
    late_after_ms: float = 80.0
    """A frame whose newest sound came longer ago than this when its rendering would begin is dropped."""
    frozen_after_s: float = 0.5
    """Where no picture was made for so long, a late one is better than none; the first is always made."""
    waiting_frames: int = 2
    """Frames that may wait for the renderer."""
    waiting_media: int = 256
    """Chunks of sound and pictures that may wait for each sink: about 2 s."""
    most_lookahead_s: float = 2.0
    """An encoder that wants more silence than this after the end of the sound is broken."""
    mark: bool = False
    """Draw the visible mark "synthetic" into every picture, for sinks that do not draw it themselves."""


class LivePipeline:
    """Runs the stages until the sound ends, ``duration_s`` is over, or :meth:`stop` is called.

    Args:
        source, encoder, motion, renderer: the stages, see ``dfanerf_rt.live.stages``.
        sinks: where pictures and sound go, each in a thread of its own; closed at the end, aborted where they failed.
            The run ends by itself when the last of them has failed.
        config: see :class:`LiveConfig`.
    """

    def __init__(
        self,
        source: AudioSource,
        encoder: SpeechEncoder,
        motion: Motion,
        renderer: Renderer,
        sinks: Sequence[Sink] = (),
        config: LiveConfig | None = None,
    ) -> None:
        self.config = config or LiveConfig()
        self.stats = LiveStats()
        self._source, self._encoder, self._motion, self._renderer = source, encoder, motion, renderer
        self._outlets: list[Outlet] = []
        self._sinks = list(sinks)
        full = WhenFull.DROP_OLDEST if self.config.realtime else WhenFull.BLOCK
        self._requests: BoundedQueue[FrameRequest] = BoundedQueue(self.config.waiting_frames, full)
        self._media: BoundedQueue[Frame | AudioChunk] = BoundedQueue(self.config.waiting_media, WhenFull.BLOCK)
        self._stop_asked = self._interrupt_asked = False
        self._changes: deque[Callable[[], None]] = deque()
        self._late_frames = 0
        self._next_index = 0
        self._heard = 0
        self._ahead = 0
        self._faults: list[tuple[str, BaseException]] = []

    @property
    def dropped_frames(self) -> int:
        """Frames that were not rendered because their turn had passed."""
        return self._late_frames + self._requests.dropped

    def stop(self) -> None:
        """End the sound here; what was heard is still rendered and written. For any thread or signal handler."""
        self._stop_asked = True  # a plain flag, because a signal handler must not wait for a lock

    def interrupt(self) -> None:
        """Forget the sound so far: all frames that are not requested yet show a mouth at rest. For any thread.

        Frames keep their places and their pace, so the first that rests is requested at most 40 ms later.
        """
        self._interrupt_asked = True

    def between_chunks(self, change: Callable[[], None]) -> None:
        """Call ``change`` in the thread that listens, before the next sound is heard. For any thread."""
        self._changes.append(change)

    def be(self, motion: Motion, renderer: Renderer) -> None:
        """Move and look otherwise from the next frame on; to be called by a change :meth:`between_chunks`."""
        self._motion, self._renderer = motion, renderer

    def run(
        self,
        duration_s: float | None = None,
        on_stats: Callable[[dict[str, Any]], None] | None = None,
        on_frame: Callable[[int], None] | None = None,
    ) -> LiveReport:
        """Run to the end.

        Args:
            duration_s: the most sound to hear; None for all.
            on_stats: called once a second, and at the end, with one line of statistics.
            on_frame: called from the delivering thread with the index of each frame.

        Raises:
            DfanerfError: the first fault of a stage, or of a sink where all of them failed, after all stages have
                stopped and the sinks that are whole have been finished with what came so far. Other exceptions are
                faults of ours and pass as they are. The fault of one sink among several is in the report.
        """
        with ended_before_python(self.stop):
            return self._run(None if duration_s is None else round(duration_s * SAMPLE_RATE_HZ), on_stats, on_frame)

    def _run(
        self,
        limit: int | None,
        on_stats: Callable[[dict[str, Any]], None] | None,
        on_frame: Callable[[int], None] | None,
    ) -> LiveReport:
        waiting, block = self.config.waiting_media, not self.config.realtime
        self._outlets = [Outlet(sink, waiting, block) for sink in self._sinks]
        threads = [
            threading.Thread(target=self._guard, args=stage, name=stage[0], daemon=True)
            for stage in (
                ("render", self._render, self._requests, self._media),
                ("deliver", lambda: self._deliver(on_frame), self._media, None),
                ("listen", lambda: self._listen(limit), None, self._requests),
            )
        ]
        # The encoder's tensors are tiny: torch's second thread would only spin beside the renderer, at a hundred times
        # the cost. The native renderer has threads of its own.
        torch_threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with frozen_garbage():
                self._source.start()
                self.stats.start(time.monotonic())
                for thread in threads:
                    thread.start()
                self._watch(threads, on_stats)
        except BaseException:
            self._abandon(threads)
            raise
        finally:
            torch.set_num_threads(torch_threads)
        self._source.stop()
        self._finish()
        return self.stats.report(
            time.monotonic(),
            self._heard / SAMPLE_RATE_HZ,
            self.config.realtime,
            self.dropped_frames,
            self._source.dropped_samples,
            tuple(outlet.report() for outlet in self._outlets),
        )

    def _watch(self, threads: list[threading.Thread], on_stats: Callable[[dict[str, Any]], None] | None) -> None:
        started_s = latest_s = time.monotonic()
        lines = 0
        while any(thread.is_alive() for thread in threads):
            threads[1].join(0.02)  # the deliverer ends last
            now_s = time.monotonic()
            if self._stop_asked:
                self._source.stop()
            if on_stats and now_s >= started_s + (lines + 1) * STATS_EVERY_S:
                lines, latest_s = int((now_s - started_s) / STATS_EVERY_S), now_s
                on_stats(self.line(now_s))
        if on_stats and (not lines or time.monotonic() - latest_s > STATS_EVERY_S / 2):
            on_stats(self.line(time.monotonic()))

    def line(self, now_s: float) -> dict[str, Any]:
        """The figures since the last call, keys as DESIGN's ``--stats``; ``now_s`` is monotonic time."""
        line = self.stats.line(now_s, self.dropped_frames, self._source.dropped_samples)
        reports = [outlet.report() for outlet in self._outlets]
        line["queues"] = {"requests": len(self._requests), "media": len(self._media)}
        line["sinks"] = {report.name: report.as_json() for report in reports}
        return line

    def _guard(
        self,
        name: str,
        stage: Callable[[], None],
        inlet: BoundedQueue[Any] | None,
        outlet: BoundedQueue[Any] | None,
    ) -> None:
        """Run a stage; whatever ends it closes its outlet, and a fault also closes its inlet, so that all end."""
        try:
            stage()
        except BaseException as fault:  # noqa: BLE001 - reported by run() from the main thread
            self._faults.append((name, fault))
            self._stop_asked = True
            if inlet is not None:
                inlet.close(discard=True)
        finally:
            if outlet is not None:
                outlet.close()

    def _listen(self, limit: int | None) -> None:
        while not self._stop_asked and (limit is None or self._heard < limit):
            chunk = self._source.read()
            if chunk is None:
                break
            if limit is not None and chunk.end > limit:
                chunk = replace(chunk, samples=chunk.samples[: limit - chunk.start])
            self._heard = chunk.end
            if not self._media.put(chunk):
                return
            while self._changes:
                self._changes.popleft()()
            if self._interrupt_asked and not self._rest(chunk):
                return
            if not self._encode(chunk, None):
                return
        # The encoder looks ahead: silence after the end brings out the frames of the last sound.
        n_frames = -(-self._heard // FRAME_SAMPLES)
        most = self._heard + round(self.config.most_lookahead_s * SAMPLE_RATE_HZ)
        silence = np.zeros(CHUNK_SAMPLES, np.float32)
        for start in range(self._heard, most, CHUNK_SAMPLES):
            if self._next_index >= n_frames:
                return
            if self.config.realtime:
                time.sleep(CHUNK_SAMPLES / SAMPLE_RATE_HZ)
            if not self._encode(AudioChunk(silence, start, time.monotonic()), n_frames):
                return
        if self._next_index < n_frames:
            raise RuntimeError(f"the speech encoder gave {self._next_index} of {n_frames} frames")

    def _rest(self, chunk: AudioChunk) -> bool:
        """Begin the encoder anew at the next frame that is not requested, with silence up to ``chunk``."""
        self._interrupt_asked = False
        self._encoder.reset()
        behind = chunk.start - self._next_index * FRAME_SAMPLES
        self._ahead = max(-behind, 0)
        silence = np.zeros(max(behind, 0), np.float32)
        return self._encode(AudioChunk(silence, chunk.start - len(silence), chunk.captured_s), None)

    def _encode(self, chunk: AudioChunk, n_frames: int | None) -> bool:
        """Request the frames that ``chunk`` completes, up to ``n_frames`` in all; False when nobody renders now."""
        samples = chunk.samples
        if self._ahead:  # only after an interruption: this sound is older than the frame at which the encoder begins
            skipped = min(self._ahead, len(samples))
            samples, self._ahead = samples[skipped:], self._ahead - skipped
        for code in torch.as_tensor(self._encoder.push(samples)):
            if n_frames is not None and self._next_index >= n_frames:
                break
            self._motion.hear(code)
            head_pose, eye_code = self._motion.next()
            index = self._next_index
            self._next_index += 1
            request = FrameRequest(
                index=index,
                condition=torch.cat([code, eye_code]),
                head_pose=head_pose,
                captured_s=chunk.captured_s,
                sound_s=chunk.captured_s - (chunk.end - index * FRAME_SAMPLES) / SAMPLE_RATE_HZ,
                renderer=self._renderer,
            )
            if not self._requests.put(request):
                return False
        return True

    def _render(self) -> None:
        made_s = -math.inf
        while (request := self._requests.get()) is not None:
            began_s = time.monotonic()
            late = 1000.0 * (began_s - request.captured_s) > self.config.late_after_ms
            if self.config.realtime and late and began_s - made_s < self.config.frozen_after_s:
                self._late_frames += 1
                continue
            renderer = request.renderer
            renderer.fold(request.condition, request.head_pose)
            # A buffer of its own for each frame, because the sinks read it while the next one is rendered.
            image = torch.empty(renderer.height, renderer.width, 3, dtype=torch.uint8)
            renderer.render(image)
            if self.config.mark:
                draw_mark(image.numpy())
            made_s = time.monotonic()
            self.stats.rendered(1000.0 * (made_s - began_s))
            if not self._media.put(Frame(request.index, image.numpy(), request.captured_s, request.sound_s)):
                return

    def _deliver(self, on_frame: Callable[[int], None] | None) -> None:
        while (item := self._media.get()) is not None:
            if isinstance(item, Frame):
                self.stats.delivered(item, time.monotonic())
            alive = [outlet.put(item) for outlet in self._outlets]
            if alive and not any(alive):
                raise next(outlet.fault for outlet in self._outlets if outlet.fault is not None)
            if on_frame and isinstance(item, Frame):
                on_frame(item.index)

    def _finish(self) -> None:
        """Close the sinks, and raise the first fault."""
        for outlet in self._outlets:
            outlet.close()
        faults = [outlet.fault for outlet in self._outlets if outlet.fault is not None]
        if faults and len(faults) == len(self._outlets):
            self._faults.append(("sinks", faults[0]))
        if self._faults:
            raise self._faults[0][1]

    def _abandon(self, threads: list[threading.Thread]) -> None:
        """Stop at once and leave nothing half-written."""
        self._stop_asked = True
        self._source.stop()
        for queue in (self._requests, self._media):
            queue.close(discard=True)
        for thread in threads:
            if thread.ident is not None:
                thread.join(5.0)
        for outlet in self._outlets:
            outlet.abort()
