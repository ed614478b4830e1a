// One clip of the player: its head, its picture with the lines over it, and its sound. Written without markup from data:
// every text goes through textContent. `owner` is the list that it stands in.
const LOOP_S = 0.5;      // seconds to each side of the peak
const SHORTEST_LOOP_S = 0.05, DRAG_PX = 4;

function whyNot(error) {
  return error.isNotInStore ? "the store has no preview for this clip" : error.message.replace(/\.$/, "");
}

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
  setLevel() { this.audio.volume = this.owner.isLevelled() ? this.clip.volume : 1; }
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
