// The clip player. Written without markup from data: every text goes through textContent.
// One sound at a time in the whole page: a player that starts tells the others by a window event.
const LOOP_S = 0.5;      // seconds to each side of the peak
const SHORTEST_LOOP_S = 0.05, DRAG_PX = 4, ARROW_S = 0.1;
const players = new Map();   // parentElement -> state, so that a rerun keeps what is playing

// What is drawn over the pictures, and whether levels are matched: one choice for all players, kept by the browser.
const VIEWS = [
  ["f0", "f0", "Show the pitch contour over the picture"],
  ["formants", "F1\u2013F3", "Show three formants over the picture"],
  ["outline", "wave", "Show the waveform over the picture"],
  ["level", "same level", "Turn louder clips down, so that all are heard at the level of the quietest"],
];
const view = readView();
function readView() {
  try { return JSON.parse(localStorage.getItem("sonoscope-view")) || {}; } catch { return {}; }
}
function toggleView(name) {
  view[name] = !view[name];
  try { localStorage.setItem("sonoscope-view", JSON.stringify(view)); } catch { /* kept for this page only */ }
  for (const one of players.values()) one.showView();
}

function whyNot(error) {
  return error.isNotInStore ? "the store has no preview for this clip" : error.message.replace(/\.$/, "");
}

function isSame(one, other) { return JSON.stringify(one ?? null) === JSON.stringify(other ?? null); }

class Clip {
  constructor(owner, clip, data) {
    this.owner = owner; this.clip = clip; this.duration = clip.duration_s; this.looping = false;
    this.peak = peakOf(clip);
    this.peakName = clip.traces[0]?.mark ? `peak of ${clip.traces[0].mark}` : "peak";
    this.audio = new Audio();
    this.audio.preload = "none";
    this.audio.src = address("audio", clip.clip_id);
    this.setLevel();
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
    this.audio.addEventListener("error", () => this.soundFailed());
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
    const title = make(this.owner.canOpen ? "button" : "b", "title", clip.title);
    if (this.owner.canOpen) {
      title.title = "Make the address a link to this clip";
      title.onclick = () => this.owner.open(clip.clip_id);
    }
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
    this.loop = make("button", "loop", "\u27F2");
    this.loop.title = this.peak ? `Loop around the ${this.peakName} (L); drag over the picture for another part` :
      "Loop (L); drag over the picture to loop a part";
    this.loop.setAttribute("aria-label", this.peak ? `Loop around the ${this.peakName}` : "Loop");
    this.loop.setAttribute("aria-pressed", "false");
    this.loop.onclick = () => { this.owner.select(this); this.toggleLoop(); };
    head.append(this.loop);
    this.root.append(head);
    if (clip.note) this.root.append(make("div", "note", clip.note));
    this.words = make("p", "sr", summaryOf(clip, this.peak));
    this.root.append(this.buildPicture(data), axisOf(this.duration), this.words);
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
    image.src = address("spectrogram", clip.clip_id);
    image.onerror = () => this.pictureFailed(image);
    this.region = make("div", "region");
    this.region.hidden = true;
    this.head = make("div", "playhead");
    pic.append(image, this.region, drawTraces(clip, data.low, data.high), this.head);
    if (clip.traces.some((trace) => trace.mark)) pic.append(legendOf(clip));
    const timeAt = (event) => {
      const box = pic.getBoundingClientRect();
      return this.duration * Math.max(0, Math.min(1, (event.clientX - box.left) / box.width));
    };
    // A click seeks; a drag marks the part that is then heard over and over.
    pic.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      const start = timeAt(event), x = event.clientX;
      let range = null;
      this.owner.select(this);
      if (!this.isOutOfLoop(start)) this.seek(start);  // a mark stays until it is known what this becomes
      pic.setPointerCapture(event.pointerId);
      pic.onpointermove = (moved) => {
        if (!range && Math.abs(moved.clientX - x) < DRAG_PX) return;
        const end = timeAt(moved);
        range = [Math.min(start, end), Math.max(start, end)];
        this.drawRegion(range);
      };
      pic.onpointerup = () => {
        pic.onpointermove = pic.onpointerup = null;
        if (range) this.loopOver(range); else this.seekOutOfLoop(start);
      };
      pic.onpointercancel = () => { pic.onpointermove = pic.onpointerup = null; this.drawRegion(); };
    });
    pic.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -0.1, ArrowRight: 0.1, PageDown: -1, PageUp: 1 }[event.key];
      const jump = { Home: 0, End: this.duration }[event.key];
      if (step === undefined && jump === undefined) return;
      event.preventDefault(); this.owner.select(this);
      this.seek(jump !== undefined ? jump : Math.max(0, Math.min(this.duration, this.position() + step)));
    });
    return pic;
  }
  span() {
    if (this.range) return this.range;
    if (!this.peak) return [0, this.duration];
    return [Math.max(0, this.peak.time - LOOP_S), Math.min(this.duration, this.peak.time + LOOP_S)];
  }
  drawRegion(range = this.looping ? this.span() : null) {
    this.region.hidden = !range;
    if (!range) return;
    this.region.style.left = `${100 * range[0] / this.duration}%`;
    this.region.style.width = `${100 * (range[1] - range[0]) / this.duration}%`;
  }
  loopOver(range) {
    if (range[1] - range[0] < SHORTEST_LOOP_S) { this.drawRegion(); return; }
    this.range = range;
    this.setLoop(true);
    this.owner.mark(this.clip.clip_id, range);
  }
  // The same sound with other lines: what was marked and what was playing go on.
  carryOn(other) {
    this.setMark(other.range, other.looping);
    if (this.owner.active === other) this.owner.active = this;
    if (other.position()) this.seek(other.position());
    if (!other.audio.paused) this.play();
  }
  setMark(range, looping) {
    this.range = range; this.looping = looping;
    this.loop.setAttribute("aria-pressed", String(looping));
    this.drawRegion();
  }
  seekOutOfLoop(time) {
    if (this.isOutOfLoop(time)) this.setLoop(false);
    this.seek(time);
  }
  isOutOfLoop(time) { const [from, to] = this.span(); return this.looping && (time < from || time > to); }
  setLevel() { this.audio.volume = view.level ? this.clip.volume : 1; }
  // f0, formants and outline are measured by the server when somebody wants to see them for a clip that is in sight.
  async loadContours() {
    if (this.asked) return;
    this.asked = true;
    try {
      const answer = await fetched(address("contours", this.clip.clip_id), "application/json");
      const found = await answer.json();
      this.pic.insertBefore(drawContours(found, this.duration), this.head);
      this.words.textContent += ` ${contourWords(found)}`;
    } catch (error) {
      this.asked = false;
      if (this.root.isConnected) this.say(`No contours: ${whyNot(error)}.`);
    }
  }
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
    if (!this.again) this.owner.started(this);   // before the browser's own event, which comes a moment later
    if (this.looping) { const [from, to] = this.span(); if (this.position() < from || this.position() > to) this.seek(from); }
    this.audio.play().catch((error) => { if (error.name !== "AbortError") this.say(`This sound cannot be played (${error.name}).`); });
  }
  toggleLoop() { this.setLoop(!this.looping); }
  setLoop(on) {
    this.looping = on;
    if (!on && this.range) { this.range = null; this.owner.mark(this.clip.clip_id, null); }
    this.loop.setAttribute("aria-pressed", String(on));
    this.drawRegion();
    if (on) { this.seek(this.span()[0]); if (this.audio.paused) this.play(); }
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
    const on = !this.audio.paused && !this.audio.ended && !this.audio.error;
    this.root.classList.toggle("playing", on);
    this.button.replaceChildren(icon(on ? PAUSE : PLAY));
    this.button.setAttribute("aria-label", `${on ? "Pause" : "Play"} ${this.clip.title}`);
    this.drawTime();
  }
  say(text) {
    if (!this.broken) { this.broken = make("div", "broken"); this.broken.setAttribute("role", "status"); this.pic.append(this.broken); }
    this.broken.textContent = text;
  }
  // A browser says only that it failed: the same address, asked once more, says why, or works by now.
  async soundFailed() {
    this.drawState();
    const url = address("audio", this.clip.clip_id), wasWanted = !this.audio.paused;
    try {
      await fetched(url, "audio/").then((answer) => answer.body?.cancel());
      if (this.hasFailed || !this.root.isConnected) throw new Error("the browser cannot decode it");
      this.hasFailed = true;
      this.audio.src = url;
      if (wasWanted) this.play();
    } catch (error) { this.say(`This sound cannot be played: ${whyNot(error)}.`); }
  }
  async pictureFailed(image) {
    const url = image.src;
    try {
      await fetched(url, "image/");
      image.onerror = () => { image.remove(); this.say("No spectrogram: the browser cannot show it."); };
      image.src = `${url}?again`;
    } catch (error) {
      image.remove();
      this.say(`No spectrogram: ${whyNot(error)}.`);
    }
  }
  stop() { this.audio.pause(); this.audio.removeAttribute("src"); this.audio.load(); }
}

class Players {
  constructor(parent) {
    this.list = parent.querySelector(".players"); this.clips = []; this.active = null; this.signature = ""; this.sent = null;
    this.onOther = (event) => { if (event.detail !== this) this.clips.forEach((c) => c.audio.pause()); };
    this.onKey = (event) => this.key(event);
    this.inSight = new IntersectionObserver((entries) => this.load(entries.filter((e) => e.isIntersecting)), { rootMargin: "200px" });
    this.giants = parent.querySelector(".giants");
    this.giants.textContent = "Grey: giant frames, far from all others along one dimension of the states. They say little of the " +
      "sound: no peak and no scale is taken from them.";
    this.views = parent.querySelector(".views");
    this.views.setAttribute("role", "group");
    this.views.setAttribute("aria-label", "Drawn over the pictures");
    this.views.replaceChildren(...VIEWS.map(([name, text, title]) => {
      const button = make("button", name, text);
      button.title = title;
      button.onclick = () => toggleView(name);
      return button;
    }));
    window.addEventListener("sonoscope-play", this.onOther);
    document.addEventListener("keydown", this.onKey);
  }
  update(component) {
    this.component = component;
    const signature = JSON.stringify(component.data);
    if (signature === this.signature) return;
    this.signature = signature;
    this.draw(component.data);
    if (component.data.can_mark) this.clips.forEach((c) => this.keepMark(c, component.data.marked ?? null));
  }
  draw(data) {
    const before = this.clips, kept = new Map(before.map((c) => [JSON.stringify(c.clip), c]));
    const same = this.low === data.low && this.high === data.high;
    this.canOpen = data.can_open !== false;
    this.low = data.low; this.high = data.high;
    this.clips = data.clips.map((clip) => {
      const old = kept.get(JSON.stringify(clip));
      if (old && same) return old;
      const fresh = new Clip(this, clip, data);
      const other = data.can_mark && before.find((c) => c.clip.clip_id === clip.clip_id);
      if (other) fresh.carryOn(other);
      return fresh;
    });
    before.forEach((c) => { if (!this.clips.includes(c)) c.stop(); });
    this.list.replaceChildren(...this.clips.map((c) => c.root));
    this.active = this.clips.includes(this.active) ? this.active : null;
    this.clips.forEach((c) => c.root.classList.toggle("active", c === this.active));
    this.views.hidden = !this.clips.length;
    this.giants.hidden = !this.clips.some((c) => giantsOf(c.clip).length);
    this.inSight.disconnect();
    this.clips.forEach((c) => this.inSight.observe(c.root));
    this.showView();
  }
  showView() {
    for (const [name] of VIEWS) {
      this.list.classList.toggle(`show-${name}`, Boolean(view[name]));
      this.views.querySelector(`.${name}`).setAttribute("aria-pressed", String(Boolean(view[name])));
    }
    this.clips.forEach((c) => c.setLevel());
    this.load(this.inSight.takeRecords().filter((e) => e.isIntersecting));
  }
  load(entries) {
    for (const entry of entries) { const clip = this.clips.find((c) => c.root === entry.target); if (clip) clip.isInSight = true; }
    if (view.f0 || view.formants || view.outline) this.clips.filter((c) => c.isInSight).forEach((c) => c.loadContours());
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
  // Where the page wants to know: the part that was marked, or null when the mark is gone.
  mark(clipId, range) {
    if (!this.component.data.can_mark) return;
    this.sent = { clipId, range };
    this.component.setTriggerValue("event", { action: "mark", clip_id: clipId, range });
  }
  // The page's mark counts, whatever was drawn anew in between, but for the time in which it does not know the reader's last.
  keepMark(clip, marked) {
    const isWaitedFor = this.sent?.clipId === clip.clip.clip_id;
    if (isWaitedFor && !isSame(this.sent.range, marked)) return;
    if (isWaitedFor) this.sent = null;
    if (!isSame(clip.range, marked)) clip.setMark(marked, Boolean(marked));
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
    } else if (key === "arrowleft" || key === "arrowright") {
      if (!this.active || (target instanceof Element && target.closest("[role=tab], [role=radio], [role=slider], [role=grid]"))) return;
      event.preventDefault();
      this.active.seek(Math.max(0, Math.min(this.active.duration, this.active.position() + (key === "arrowleft" ? -ARROW_S : ARROW_S))));
    }
  }
  close() {
    window.removeEventListener("sonoscope-play", this.onOther);
    document.removeEventListener("keydown", this.onKey);
    this.inSight.disconnect();
    this.clips.forEach((c) => c.stop());
  }
}

export default function (component) {
  const parent = component.parentElement;
  if (!players.has(parent)) players.set(parent, new Players(parent));
  players.get(parent).update(component);
  return () => { const gone = players.get(parent); if (gone) { gone.close(); players.delete(parent); } };
}
