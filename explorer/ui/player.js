// The clip player. Written without markup from data: every text goes through textContent.
// One sound at a time in the whole page: a player that starts tells the others by a window event.
const SVG = "http://www.w3.org/2000/svg";
const PLAY = "M1 0 L11 5.5 L1 11 Z", PAUSE = "M1 0 H4 V11 H1 Z M7 0 H10 V11 H7 Z";
const LOOP_S = 0.5;      // seconds to each side of the peak
const players = new Map();   // parentElement -> state, so that a rerun keeps what is playing

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined && text !== null) element.textContent = text;
  return element;
}
const fixed = (value, digits) => value.toFixed(digits).replace("-", "\u2212");
const clock = (t, d) => `${t.toFixed(2)} / ${d.toFixed(2)} s`;

function icon(path) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 11 11");
  svg.setAttribute("aria-hidden", "true");
  const shape = document.createElementNS(SVG, "path");
  shape.setAttribute("d", path);
  svg.append(shape);
  return svg;
}

function peakOf(clip) {
  const trace = clip.traces[0];
  if (!trace) return null;
  let best = -1;
  trace.values.forEach((v, i) => { if (v !== null && (best < 0 || v > trace.values[best])) best = i; });
  return best < 0 ? null : { time: trace.t0_s + best * trace.hop_s, value: trace.values[best] };
}

function summaryOf(clip, peak) {
  const parts = [`Clip of ${clip.duration_s.toFixed(2)} seconds.`];
  if (clip.value !== null) parts.push(`Activation ${fixed(clip.value, 3)}.`);
  if (clip.note) parts.push(clip.note);
  for (const trace of clip.traces) {
    const known = trace.values.filter((v) => v !== null);
    if (!known.length) continue;
    const mean = known.reduce((a, b) => a + b, 0) / known.length;
    parts.push(`${trace.name}: mean ${fixed(mean, 3)}, lowest ${fixed(Math.min(...known), 3)}, ` +
      `highest ${fixed(Math.max(...known), 3)}` +
      (trace === clip.traces[0] && peak ? ` at ${peak.time.toFixed(2)} seconds` : "") +
      (trace.baseline === null ? "." : `, mean over the corpus ${fixed(trace.baseline, 3)}.`));
  }
  if (!clip.traces.length) parts.push("No trace is drawn.");
  return parts.join(" ");
}

function drawTraces(clip, low, high) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${clip.duration_s} 1`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const y = (v) => (0.96 - 0.9 * (v - low) / (high - low)).toFixed(4);
  const add = (d, className, color, kind) => {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", d);
    path.setAttribute("class", className);
    if (color) path.style[kind] = color;
    svg.append(path);
  };
  for (const trace of clip.traces) {
    let d = "", open = false;
    trace.values.forEach((v, i) => {
      if (v === null) { open = false; return; }
      d += `${open ? "L" : "M"}${(trace.t0_s + i * trace.hop_s).toFixed(4)} ${y(v)}`;
      open = true;
    });
    if (!d) continue;
    if (trace.baseline !== null) add(`M0 ${y(trace.baseline)}H${clip.duration_s}`, "level");
    const dashed = trace.dashed ? " dashed" : "";
    add(d, `halo${dashed}`);
    add(d, `line${dashed}`, trace.color, "stroke");
  }
  return svg;
}

// Which line is which, over the picture, where the lines are marked (A and B).
function legendOf(clip) {
  const legend = make("div", "legend");
  legend.setAttribute("aria-hidden", "true");
  for (const trace of clip.traces) {
    const entry = make("span"), sample = make("i", trace.dashed ? "dashed" : "");
    sample.style.borderTopColor = trace.color;
    entry.append(sample, trace.name);
    legend.append(entry);
  }
  return legend;
}

function axisOf(duration) {
  const axis = make("div", "axis");
  const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60].find((s) => duration / s <= 8) || 120;
  for (let t = 0, i = 0; t < duration - step * 0.45 || i === 0; t = ++i * step) {
    const tick = make("span", "", i === 0 ? "0 s" : String(Number(t.toFixed(2))));
    tick.style.left = `${100 * t / duration}%`;
    axis.append(tick);
  }
  const end = make("span", "end", `${Number(duration.toFixed(2))} s`);
  end.style.left = "100%";
  axis.append(end);
  axis.setAttribute("aria-hidden", "true");
  return axis;
}

class Clip {
  constructor(owner, clip, data) {
    this.owner = owner; this.clip = clip; this.duration = clip.duration_s; this.looping = false;
    this.peak = peakOf(clip);
    this.peakName = clip.traces[0]?.mark ? `peak of ${clip.traces[0].mark}` : "peak";
    this.audio = new Audio();
    this.audio.preload = "none";
    this.audio.src = `/audio/${clip.clip_id}`;
    this.audio.addEventListener("play", () => {
      if (!this.again) owner.started(this);
      this.again = false; this.drawState(); this.follow();
    });
    this.audio.addEventListener("pause", () => this.drawState());
    // A loop may reach to the clip's end, where the sound stops by itself.
    this.audio.addEventListener("ended", () => {
      if (this.looping && this.root.isConnected) { this.again = true; this.audio.currentTime = this.span()[0]; this.play(); }
      this.drawState();
    });
    this.audio.addEventListener("seeked", () => this.drawTime());
    this.audio.addEventListener("error", () => this.say("This sound cannot be played: the store has no preview for it."));
    this.build(data);
  }
  build(data) {
    const { clip } = this;
    this.root = make("section", "clip");
    this.root.dataset.clipId = clip.clip_id;
    this.root.setAttribute("aria-label", `${clip.rank === null ? "Clip" : `Clip ${clip.rank}`}: ${clip.title}`);
    const head = make("div", "head");
    this.button = make("button", "play");
    this.button.onclick = () => { this.owner.select(this); this.toggle(); };
    head.append(this.button);
    if (clip.rank !== null) head.append(make("span", "rank", clip.rank));
    const title = make("button", "title", clip.title);
    title.title = "Make the address a link to this clip";
    title.onclick = () => this.owner.open(clip.clip_id);
    head.append(title, make("span", "detail", clip.detail));
    this.time = make("span", "clock", clock(0, this.duration));
    head.append(this.time);
    if (this.peak) head.append(make("span", "peak", `${this.peakName} at ${this.peak.time.toFixed(2)} s`));
    if (clip.value !== null) {
      if (clip.value_max) {
        const bar = make("span", "bar"), fill = make("i");
        fill.style.width = `${Math.max(0, Math.min(100, 100 * clip.value / clip.value_max))}%`;
        bar.append(fill);
        head.append(bar);
      }
      head.append(make("span", "value", fixed(clip.value, 2)));
    }
    if (this.peak) {
      this.loop = make("button", "loop", "\u27F2");
      this.loop.title = `Loop around the ${this.peakName} (L)`;
      this.loop.setAttribute("aria-label", `Loop around the ${this.peakName}`);
      this.loop.setAttribute("aria-pressed", "false");
      this.loop.onclick = () => { this.owner.select(this); this.toggleLoop(); };
      head.append(this.loop);
    }
    this.root.append(head);
    if (clip.note) this.root.append(make("div", "note", clip.note));
    this.root.append(this.buildPicture(data), axisOf(this.duration), make("p", "sr", summaryOf(clip, this.peak)));
    this.drawState();
  }
  buildPicture(data) {
    const { clip } = this;
    const pic = this.pic = make("div", "pic");
    pic.style.height = `${data.height_px}px`;
    pic.tabIndex = 0;
    pic.setAttribute("role", "slider");
    pic.setAttribute("aria-label", `Position in ${clip.title}`);
    pic.setAttribute("aria-valuemin", "0");
    pic.setAttribute("aria-valuemax", this.duration.toFixed(2));
    const image = make("img");
    image.alt = ""; image.loading = "lazy"; image.decoding = "async"; image.draggable = false;
    image.src = `/spectrogram/${clip.clip_id}`;
    image.onerror = () => { image.remove(); this.say("No spectrogram: the store has no preview for this clip."); };
    this.region = make("div", "region");
    this.region.hidden = true;
    if (this.peak) {
      const [from, to] = this.span();
      this.region.style.left = `${100 * from / this.duration}%`;
      this.region.style.width = `${100 * (to - from) / this.duration}%`;
    }
    this.head = make("div", "playhead");
    pic.append(image, this.region, drawTraces(clip, data.low, data.high), this.head);
    if (clip.traces.some((trace) => trace.mark)) pic.append(legendOf(clip));
    const seekTo = (event) => {
      const box = pic.getBoundingClientRect();
      this.seek(this.duration * Math.max(0, Math.min(1, (event.clientX - box.left) / box.width)));
    };
    pic.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      this.owner.select(this); seekTo(event);
      pic.setPointerCapture(event.pointerId);
      pic.onpointermove = seekTo;
    });
    const release = () => { pic.onpointermove = null; };
    pic.addEventListener("pointerup", release);
    pic.addEventListener("pointercancel", release);
    pic.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -0.1, ArrowRight: 0.1, PageDown: -1, PageUp: 1 }[event.key];
      const jump = { Home: 0, End: this.duration }[event.key];
      if (step === undefined && jump === undefined) return;
      event.preventDefault(); this.owner.select(this);
      this.seek(jump !== undefined ? jump : Math.max(0, Math.min(this.duration, this.position() + step)));
    });
    return pic;
  }
  span() { return [Math.max(0, this.peak.time - LOOP_S), Math.min(this.duration, this.peak.time + LOOP_S)]; }
  // Before any data is loaded a position is remembered and set as soon as the audio can take it.
  position() { return this.pending ?? this.audio.currentTime; }
  seek(time) {
    if (this.audio.readyState >= 1) { this.audio.currentTime = time; this.pending = undefined; }
    else {
      if (this.pending === undefined) {
        this.audio.addEventListener("loadedmetadata", () => {
          this.audio.currentTime = this.pending; this.pending = undefined;
        }, { once: true });
      }
      this.pending = time;
      this.audio.preload = "auto"; this.audio.load();
    }
    this.drawTime();
  }
  toggle() { if (this.audio.paused) this.play(); else this.audio.pause(); }
  play() {
    if (this.looping) { const [from, to] = this.span(); if (this.position() < from || this.position() > to) this.seek(from); }
    this.audio.play().catch((error) => { if (error.name !== "AbortError") this.say(`This sound cannot be played (${error.name}).`); });
  }
  toggleLoop() {
    if (!this.peak) return;
    this.looping = !this.looping;
    this.loop.setAttribute("aria-pressed", String(this.looping));
    this.region.hidden = !this.looping;
    if (this.looping) { this.seek(this.span()[0]); if (this.audio.paused) this.play(); }
  }
  follow() {
    if (this.looping) { const [from, to] = this.span(); if (this.audio.currentTime >= to) this.audio.currentTime = from; }
    this.drawTime();
    if (!this.audio.paused && this.root.isConnected) requestAnimationFrame(() => this.follow());
    else if (!this.root.isConnected) this.audio.pause();
  }
  drawTime() {
    const t = Math.min(this.position(), this.duration);
    this.head.style.left = `${100 * t / this.duration}%`;
    this.time.textContent = clock(t, this.duration);
    this.pic.setAttribute("aria-valuenow", t.toFixed(2));
    this.pic.setAttribute("aria-valuetext", `${t.toFixed(2)} of ${this.duration.toFixed(2)} seconds`);
  }
  drawState() {
    const on = !this.audio.paused && !this.audio.ended;
    this.root.classList.toggle("playing", on);
    this.button.replaceChildren(icon(on ? PAUSE : PLAY));
    this.button.setAttribute("aria-label", `${on ? "Pause" : "Play"} ${this.clip.title}`);
    this.drawTime();
  }
  say(text) {
    if (!this.broken) { this.broken = make("div", "broken"); this.broken.setAttribute("role", "status"); this.pic.append(this.broken); }
    this.broken.textContent = text;
  }
  stop() { this.audio.pause(); this.audio.removeAttribute("src"); this.audio.load(); }
}

class Players {
  constructor(parent) {
    this.list = parent.querySelector(".players"); this.clips = []; this.active = null; this.signature = "";
    this.onOther = (event) => { if (event.detail !== this) this.clips.forEach((c) => c.audio.pause()); };
    this.onKey = (event) => this.key(event);
    window.addEventListener("sonoscope-play", this.onOther);
    document.addEventListener("keydown", this.onKey);
  }
  update(component) {
    this.component = component;
    const signature = JSON.stringify(component.data);
    if (signature === this.signature) return;
    this.signature = signature;
    const kept = new Map(this.clips.map((c) => [JSON.stringify(c.clip), c]));
    this.clips.forEach((c) => { if (!component.data.clips.some((d) => JSON.stringify(d) === JSON.stringify(c.clip))) c.stop(); });
    const same = this.low === component.data.low && this.high === component.data.high;
    this.low = component.data.low; this.high = component.data.high;
    this.clips = component.data.clips.map((clip) => {
      const old = kept.get(JSON.stringify(clip));
      if (old && same) return old;
      if (old) old.stop();
      return new Clip(this, clip, component.data);
    });
    this.list.replaceChildren(...this.clips.map((c) => c.root));
    this.active = this.clips.includes(this.active) ? this.active : null;
  }
  started(clip) {
    this.clips.forEach((c) => { if (c !== clip) c.audio.pause(); });
    window.dispatchEvent(new CustomEvent("sonoscope-play", { detail: this }));
    this.select(clip);
  }
  select(clip) {
    this.active = clip;
    for (const other of players.values()) {
      if (other !== this) other.active = null;
      other.clips.forEach((c) => c.root.classList.toggle("active", c === clip));
    }
  }
  open(clipId) { this.component.setTriggerValue("event", { action: "open", clip_id: clipId }); }
  // Keys work without a click first: the first list on the page answers until another one is used.
  answers() {
    const all = [...players.values()].filter((p) => p.list.isConnected && p.clips.length);
    const chosen = all.find((p) => p.active) || all[0];
    return chosen === this;
  }
  key(event) {
    const target = event.composedPath()[0];
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || !this.answers()) return;
    if (target instanceof Element && target.closest("input, textarea, select, [contenteditable], [role=combobox], [role=option], dialog")) return;
    const key = event.key.toLowerCase();
    if (key === " ") {
      if (target instanceof Element && target.closest("button, a, [role=button], [role=tab], [role=radio], [role=checkbox], summary")) return;
      event.preventDefault();
      const clip = this.active || this.clips[0];
      this.select(clip); clip.toggle();
    } else if (key === "j" || key === "k") {
      event.preventDefault();
      const at = this.clips.indexOf(this.active), next = at < 0 ? 0 : at + (key === "j" ? 1 : -1);
      if (next < 0 || next >= this.clips.length) return;
      const wasPlaying = at >= 0 && !this.clips[at].audio.paused, clip = this.clips[next];
      this.select(clip);
      clip.root.scrollIntoView({ block: "nearest" });
      clip.pic.focus({ preventScroll: true });
      if (wasPlaying) { clip.seek(0); clip.play(); }
    } else if (key === "l") {
      (this.active || this.clips[0]).toggleLoop();
    }
  }
  close() {
    window.removeEventListener("sonoscope-play", this.onOther);
    document.removeEventListener("keydown", this.onKey);
    this.clips.forEach((c) => c.stop());
  }
}

export default function (component) {
  const parent = component.parentElement;
  if (!players.has(parent)) players.set(parent, new Players(parent));
  players.get(parent).update(component);
  return () => { const gone = players.get(parent); if (gone) { gone.close(); players.delete(parent); } };
}
