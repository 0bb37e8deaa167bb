"use strict";

// The page of dfanerf-live --web: sends the microphone, shows and plays what comes back.

const $ = (id) => document.getElementById(id);
const PING_EVERY_MS = 2000;
const FIGURES_EVERY_MS = 1000;
const LEVEL_EVERY_MS = 150; // each change has the browser paint the page once more

const SETTINGS = {
  avatar: () => $("avatars").value || null,
  seed: () => ($("seed").value === "" ? null : Number($("seed").value)),
  temperature: () => Number($("temperature").value),
  lookahead_ms: () => Number($("lookahead").value),
};

let visit = null; // {peer, channel, id, microphone, timers, server}
let beginning = false;
let options = null;

function say(text, bad = false) {
  $("status").textContent = text;
  $("status").classList.toggle("bad", bad);
}

async function answerOf(response) {
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(body.error || `the server says ${response.status}`);
  return body;
}

async function sendJson(method, address, body) {
  const request = { method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  return answerOf(await fetch(address, request));
}

async function loadOptions() {
  try {
    options = await answerOf(await fetch("/api/options"));
  } catch (fault) {
    say(`The server cannot be used: ${fault.message}`, true);
    return;
  }
  for (const name of options.avatars) $("avatars").add(new Option(name, name));
  $("lookahead").value = options.lookahead_ms;
  showSettings();
}

function showSettings() {
  $("temperature-shown").textContent = Number($("temperature").value).toFixed(1);
  $("lookahead-shown").textContent = `${$("lookahead").value} ms`;
}

async function listMicrophones() {
  if (!navigator.mediaDevices) return;
  const chosen = $("microphone").value;
  const devices = (await navigator.mediaDevices.enumerateDevices()).filter((device) => device.kind === "audioinput");
  $("microphone").replaceChildren(new Option("Default microphone", ""));
  devices.forEach((device, place) => {
    if (device.deviceId) $("microphone").add(new Option(device.label || `Microphone ${place + 1}`, device.deviceId));
  });
  $("microphone").value = devices.some((device) => device.deviceId === chosen) ? chosen : "";
}

async function openMicrophone() {
  if (!navigator.mediaDevices) throw new Error("browsers give a microphone to https pages and this machine only");
  const wanted = $("microphone").value;
  const stream = await navigator.mediaDevices.getUserMedia({
    audio: {
      deviceId: wanted ? { exact: wanted } : undefined,
      channelCount: 1,
      echoCancellation: true,
      noiseSuppression: true,
      autoGainControl: true,
    },
  });
  await listMicrophones();
  return stream;
}

// What is sent of the microphone. Browsers that do not tell its level have to hear it a second time.
async function showLevel(mine) {
  const sender = mine.peer.getSenders().find((each) => each.track && each.track.kind === "audio");
  if (!sender) return;
  let loudest = null;
  (await sender.getStats()).forEach((row) => {
    if (row.type === "media-source" && row.audioLevel !== undefined) loudest = row.audioLevel;
  });
  if (visit !== mine) return;
  if (loudest === null) {
    if (!mine.hearing) mine.hearing = hearingOf(mine.microphone);
    mine.hearing.analyser.getFloatTimeDomainData(mine.hearing.samples);
    loudest = Math.max(...mine.hearing.samples);
  }
  // Decibels: -60 dB is the left end, 0 dB the right one.
  $("level").value = Math.min(Math.max(1 + Math.log10(loudest + 1e-6) / 3, 0), 1).toFixed(2);
}

function hearingOf(microphone) {
  const context = new AudioContext();
  const analyser = context.createAnalyser();
  context.createMediaStreamSource(microphone).connect(analyser);
  return { context, analyser, samples: new Float32Array(analyser.fftSize) };
}

function forgetHearing(mine) {
  if (mine.hearing) mine.hearing.context.close();
  mine.hearing = null;
  $("level").value = 0;
}

function gathered(peer) {
  return new Promise((resolve) => {
    if (peer.iceGatheringState === "complete") resolve();
    peer.addEventListener("icegatheringstatechange", () => {
      if (peer.iceGatheringState === "complete") resolve();
    });
    setTimeout(resolve, 3000);
  });
}

function preferH264(transceiver) {
  const codecs = RTCRtpReceiver.getCapabilities("video").codecs;
  const first = codecs.filter((codec) => codec.mimeType === "video/H264");
  transceiver.setCodecPreferences([...first, ...codecs.filter((codec) => !first.includes(codec))]);
}

async function start() {
  if (visit || beginning) return;
  beginning = true;
  $("start").disabled = true;
  say("Connecting …");
  let microphone = null;
  let trouble = "";
  try {
    microphone = await openMicrophone();
  } catch (fault) {
    trouble = `No microphone (${fault.message}); a sound file can be spoken all the same.`;
  }
  const peer = new RTCPeerConnection({ iceServers: [] });
  const mine = { peer, microphone, hearing: null, id: null, timers: [], server: null, before: null };
  visit = mine;
  applyMode(); // before anything is sent: push to talk is silent from the first moment
  try {
    if (microphone) {
      peer.addTrack(microphone.getAudioTracks()[0], microphone);
    } else {
      peer.addTransceiver("audio", { direction: "recvonly" });
    }
    preferH264(peer.addTransceiver("video", { direction: "recvonly" }));
    mine.channel = peer.createDataChannel("dfanerf");
    mine.channel.onmessage = (event) => hear(mine, JSON.parse(event.data));
    const stream = new MediaStream();
    $("avatar").srcObject = stream;
    peer.ontrack = (event) => stream.addTrack(event.track);
    peer.onconnectionstatechange = () => connectionChanged(mine, trouble);
    await peer.setLocalDescription();
    await gathered(peer);
    const body = { sdp: peer.localDescription.sdp };
    for (const [name, chosen] of Object.entries(SETTINGS)) body[name] = chosen();
    const answer = await sendJson("POST", "/api/sessions", body);
    mine.id = answer.id;
    await peer.setRemoteDescription({ type: "answer", sdp: answer.sdp });
    await $("avatar").play();
  } catch (fault) {
    stop(`Not started: ${fault.message}`, true);
    return;
  } finally {
    beginning = false;
    $("start").disabled = false;
  }
  $("hint").hidden = true;
  $("start").textContent = "Stop";
  $("clear").disabled = false;
  mine.timers.push(setInterval(() => mine.channel.readyState === "open" && mine.channel.send("ping"), PING_EVERY_MS));
  mine.timers.push(setInterval(() => showFigures(mine), FIGURES_EVERY_MS));
  mine.timers.push(setInterval(() => showLevel(mine), LEVEL_EVERY_MS));
}

function connectionChanged(mine, trouble) {
  if (visit !== mine) return;
  const state = mine.peer.connectionState;
  if (state === "connected") say(trouble || "Live: speak.", Boolean(trouble));
  if (state === "failed" || state === "closed") stop("The connection to the server was lost.", true);
}

function stop(text = "Stopped.", bad = false) {
  const mine = visit;
  visit = null;
  say(text, bad);
  $("start").textContent = "Start";
  $("hint").hidden = false;
  $("clear").disabled = true;
  for (const id of ["fps", "latency", "drops"]) $(id).textContent = "–";
  if (!mine) return;
  mine.timers.forEach(clearInterval);
  forgetHearing(mine);
  if (mine.microphone) mine.microphone.getTracks().forEach((track) => track.stop());
  if (mine.id) fetch(`/api/sessions/${mine.id}`, { method: "DELETE", keepalive: true }).catch(() => {});
  mine.peer.close();
  $("avatar").srcObject = null;
  applyMode();
}

function hear(mine, message) {
  const spoke = mine.server && mine.server.speaks_file;
  mine.server = message;
  if (spoke && !message.speaks_file && visit === mine) say("The file has been spoken. Live: speak.");
}

async function showFigures(mine) {
  if (visit !== mine || !mine.server) return;
  const stats = mine.server.stats;
  const now = { stats, decoded: 0, dropped: 0, delay: 0, emitted: 0, roundTrip: 0, atMs: performance.now() };
  (await mine.peer.getStats()).forEach((row) => {
    if (row.type === "inbound-rtp" && row.kind === "video") {
      Object.assign(now, { decoded: row.framesDecoded, dropped: row.framesDropped || 0 });
      Object.assign(now, { delay: row.jitterBufferDelay, emitted: row.jitterBufferEmittedCount });
    }
    if (row.type === "candidate-pair" && row.nominated) now.roundTrip = row.currentRoundTripTime || 0;
  });
  const before = mine.before;
  mine.before = now;
  if (!before) return;
  const seconds = (now.atMs - before.atMs) / 1000;
  // In place of a picture that was dropped the server sends the one before it once more: that is none.
  const toldS = stats.t_s - before.stats.t_s;
  const made = toldS > 0 ? (stats.frames - before.stats.frames) / toldS : 0;
  $("fps").textContent = `${Math.min((now.decoded - before.decoded) / seconds, made).toFixed(1)} fps`;
  const waited = now.emitted > before.emitted ? (now.delay - before.delay) / (now.emitted - before.emitted) : 0;
  if (stats.latency_ms_p50 !== null) {
    // From the sound at the server to its picture there, the way there and back, and the browser's own waiting.
    $("latency").textContent = `${Math.round(stats.latency_ms_p50 + 1000 * (now.roundTrip + waited))} ms`;
  }
  $("drops").textContent = String(stats.dropped_frames + stats.dropped_by_network + now.dropped);
}

// While a session runs, a setting is in force as soon as it is chosen.
async function change(name) {
  const mine = visit;
  if (!mine || !mine.id) return;
  try {
    await sendJson("PATCH", `/api/sessions/${mine.id}`, { [name]: SETTINGS[name]() });
    if (visit === mine) say("Live: the new setting is in force.");
  } catch (fault) {
    if (visit === mine) say(`Not changed: ${fault.message}`, true);
  }
}

function pushToTalk() {
  return document.querySelector("input[name=mode]:checked").value === "push";
}

function talk(down) {
  const track = visit && visit.microphone && visit.microphone.getAudioTracks()[0];
  if (!track || !pushToTalk()) return;
  track.enabled = down;
  $("talk").setAttribute("aria-pressed", String(down));
}

function applyMode() {
  const track = visit && visit.microphone && visit.microphone.getAudioTracks()[0];
  if (track) track.enabled = !pushToTalk();
  $("talk").disabled = !track || !pushToTalk();
  $("talk").setAttribute("aria-pressed", "false");
}

async function changeMicrophone() {
  if (!visit || !visit.microphone) return;
  const mine = visit;
  try {
    const microphone = await openMicrophone();
    const sender = mine.peer.getSenders().find((each) => each.track && each.track.kind === "audio");
    await sender.replaceTrack(microphone.getAudioTracks()[0]);
    mine.microphone.getTracks().forEach((track) => track.stop());
    forgetHearing(mine);
    mine.microphone = microphone;
    applyMode();
  } catch (fault) {
    say(`That microphone cannot be used: ${fault.message}`, true);
  }
}

function beSilent() {
  if (visit && visit.channel.readyState === "open") visit.channel.send("clear");
}

async function speakFile(file) {
  if (!file) return;
  if (options && file.size > options.most_upload_bytes) {
    say(`${file.name} is larger than ${options.most_upload_bytes / 1e6} MB.`, true);
    return;
  }
  if (!visit) await start();
  if (!visit) return;
  try {
    say(`Sending ${file.name} …`);
    const answer = await answerOf(await fetch(`/api/sessions/${visit.id}/audio`, { method: "POST", body: file }));
    say(`Speaking ${file.name} (${answer.seconds.toFixed(1)} s).`);
  } catch (fault) {
    say(`${file.name} cannot be spoken: ${fault.message}`, true);
  }
}

function typing(target) {
  return target.closest("input, select, textarea, button, summary, [contenteditable]") !== null;
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") beSilent();
  if (typing(event.target) || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.code === "Space") {
    event.preventDefault();
    talk(true);
  } else if (event.key === "s" || event.key === "S") {
    if (visit) stop();
    else start();
  }
});
document.addEventListener("keyup", (event) => event.code === "Space" && talk(false));
window.addEventListener("blur", () => talk(false));
window.addEventListener("pagehide", () => visit && stop());

$("start").addEventListener("click", () => (visit ? stop() : start()));
$("clear").addEventListener("click", beSilent);
$("talk").addEventListener("pointerdown", () => talk(true));
for (const event of ["pointerup", "pointercancel", "pointerleave"]) $("talk").addEventListener(event, () => talk(false));
$("talk").addEventListener("keydown", (event) => (event.code === "Space" || event.key === "Enter") && talk(true));
$("talk").addEventListener("keyup", () => talk(false));
$("talk").addEventListener("contextmenu", (event) => event.preventDefault());
document.querySelectorAll("input[name=mode]").forEach((radio) => radio.addEventListener("change", applyMode));
$("microphone").addEventListener("change", changeMicrophone);
$("temperature").addEventListener("input", showSettings);
$("lookahead").addEventListener("input", showSettings);
for (const [id, name] of [["avatars", "avatar"], ["seed", "seed"], ["temperature", "temperature"], ["lookahead", "lookahead_ms"]]) {
  $(id).addEventListener("change", () => change(name));
}
$("file").addEventListener("change", async () => {
  await speakFile($("file").files[0]);
  $("file").value = "";
});

let depth = 0;
document.addEventListener("dragenter", (event) => {
  event.preventDefault();
  depth += 1;
  $("dropping").hidden = false;
});
document.addEventListener("dragleave", () => {
  depth -= 1;
  if (depth <= 0) $("dropping").hidden = true;
});
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  depth = 0;
  $("dropping").hidden = true;
  speakFile(event.dataTransfer.files[0]);
});

loadOptions();
listMicrophones();
