// The clip player: a list of clips. One sound at a time in the whole page: a player that starts tells the others by a
// window event.
const ARROW_S = 0.1;
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

function isSame(one, other) { return JSON.stringify(one ?? null) === JSON.stringify(other ?? null); }

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
  isLevelled() { return Boolean(view.level); }
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
