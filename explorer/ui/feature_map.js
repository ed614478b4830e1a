// The map of features: a canvas without WebGL, with pan, zoom, hover, click and keyboard. Text by textContent only.
// A point that is pointed at plays its strongest clip, once the reader has switched that on.
const REACH_PX = 9, CLICK_PX = 4, PAD_PX = 14, WAIT_MS = 140;
const maps = new Map();

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

class FeatureMap {
  constructor(root) {
    this.root = root; this.at = -1; this.signature = "";
    this.zoom = 1; this.left = 0; this.top = 0;
    this.bar = make("div", "bar");
    this.hear = make("button", "hear", "hear on hover");
    this.hear.title = "Play the strongest clip of the feature under the pointer";
    this.hear.setAttribute("aria-pressed", "false");
    this.hear.onclick = () => this.toggleSound();
    this.whole = make("button", "whole", "whole map");
    this.whole.onclick = () => { this.zoom = 1; this.left = this.top = 0; this.draw(); };
    const nearer = (sign, name, factor) => {
      const button = make("button", "step", sign);
      button.title = `${name} (${sign}, or Ctrl and the wheel)`;
      button.setAttribute("aria-label", name);
      button.onclick = () => this.zoomAt(this.width / 2, this.height / 2, factor);
      return button;
    };
    this.legend = make("span", "bar keys");
    this.bar.append(this.hear, nearer("+", "Zoom in", 1.25), nearer("\u2212", "Zoom out", 0.8), this.whole, this.legend);
    this.canvas = make("canvas");
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "application");
    this.canvas.setAttribute("aria-label", "Map of features: arrows move to the nearest one, Enter opens it, P plays its strongest clip, plus and minus zoom");
    this.tip = make("div", "tip"); this.tip.hidden = true;
    this.live = make("p", "sr"); this.live.setAttribute("aria-live", "polite");
    root.replaceChildren(this.bar, this.canvas, this.tip, this.live);
    this.audio = new Audio(); this.audio.preload = "none";
    this.audio.addEventListener("play", () => window.dispatchEvent(new CustomEvent("sonoscope-play", { detail: this })));
    this.onOther = (event) => { if (event.detail !== this) this.audio.pause(); };
    window.addEventListener("sonoscope-play", this.onOther);
    this.sizes = new ResizeObserver(() => this.draw());
    this.sizes.observe(this.canvas);
    this.listen();
  }
  update(component) {
    this.component = component;
    const signature = JSON.stringify(component.data);
    if (signature === this.signature) return;
    this.signature = signature; this.data = component.data; this.at = -1;
    this.canvas.style.height = `${this.data.height_px}px`;
    this.legend.replaceChildren(...this.keys());
    this.say();
    this.draw();
  }
  keys() {
    const keys = [];
    if (this.data.ramp.length) {
      const key = make("span", "key"), ramp = make("span", "ramp");
      ramp.style.background = `linear-gradient(90deg, ${this.data.ramp.join(",")})`;
      key.append(make("span", "", this.data.ends[0]), ramp, make("span", "", this.data.ends[1]));
      keys.push(key);
    }
    for (const [color, name] of this.data.kinds) {
      const key = make("span", "key"), dot = make("i");
      dot.style.background = color;
      key.append(dot, make("span", "", name));
      keys.push(key);
    }
    return keys;
  }
  // Where point i lies on the canvas, in CSS pixels.
  place(i) {
    const side = Math.min(this.width, this.height) - 2 * PAD_PX;
    const x = (this.width - side) / 2 + this.data.x[i] * side;
    const y = this.height - ((this.height - side) / 2 + this.data.y[i] * side);
    return [x * this.zoom + this.left, y * this.zoom + this.top];
  }
  draw() {
    if (!this.data) return;
    const ratio = window.devicePixelRatio || 1;
    this.width = this.canvas.clientWidth; this.height = this.canvas.clientHeight;
    this.canvas.width = Math.round(this.width * ratio); this.canvas.height = Math.round(this.height * ratio);
    const pen = this.canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, this.width, this.height);
    const grow = Math.min(2.2, Math.sqrt(this.zoom));
    for (const named of [false, true]) {
      for (let i = 0; i < this.data.x.length; i++) {
        if (this.data.named[i] !== named) continue;
        const [x, y] = this.place(i);
        pen.beginPath();
        pen.arc(x, y, (named ? 4 : 3) * grow, 0, 2 * Math.PI);
        pen.fillStyle = this.data.color[i];
        pen.fill();
      }
    }
    if (this.at >= 0) {
      const [x, y] = this.place(this.at);
      pen.beginPath(); pen.arc(x, y, 8 * grow, 0, 2 * Math.PI);
      pen.strokeStyle = getComputedStyle(this.root).color; pen.lineWidth = 2; pen.stroke();
    }
  }
  nearest(x, y) {
    let best = -1, least = REACH_PX ** 2;
    for (let i = 0; i < this.data.x.length; i++) {
      const [px, py] = this.place(i), d = (px - x) ** 2 + (py - y) ** 2;
      if (d < least) { least = d; best = i; }
    }
    return best;
  }
  toward(dx, dy) {
    if (this.at < 0) return 0;
    const [x, y] = this.place(this.at);
    let best = this.at, least = Infinity;
    for (let i = 0; i < this.data.x.length; i++) {
      const [px, py] = this.place(i), along = (px - x) * dx + (py - y) * dy, off = Math.abs((px - x) * dy) + Math.abs((py - y) * dx);
      if (i === this.at || along <= 0.5) continue;
      if (along + 2 * off < least) { least = along + 2 * off; best = i; }
    }
    return best;
  }
  show(i) {
    if (i === this.at) return;
    this.at = i;
    this.canvas.classList.toggle("over", i >= 0);
    this.say();
    this.draw();
    clearTimeout(this.waiting);
    if (this.hearing) this.waiting = setTimeout(() => this.play(), WAIT_MS);
  }
  say() {
    const i = this.at;
    this.tip.hidden = i < 0;
    if (i < 0) return;
    const head = make("b", "", `Feature ${this.data.feature[i]}`);
    const clip = this.data.title[i] ? make("div", "", `strongest: ${this.data.title[i]}`) : make("div", "", "no clip is listed");
    this.tip.replaceChildren(head, make("div", "", this.data.words[i]), clip);
    const [x, y] = this.place(i), top = this.canvas.offsetTop + y;
    this.tip.style.left = `${Math.max(0, Math.min(this.width - 256, x + 14))}px`;
    this.tip.style.top = `${y > this.height - 110 ? top - 96 : top + 12}px`;
    this.live.textContent = `Feature ${this.data.feature[i]}: ${this.data.words[i]}`;
  }
  play() {
    const clip = this.at >= 0 ? this.data.clip_id[this.at] : null;
    if (!clip) { this.audio.pause(); return; }
    const source = address("audio", clip);
    if (this.audio.src !== source) this.audio.src = source;
    this.audio.currentTime = 0;
    this.audio.play().catch(() => { this.live.textContent = "This sound cannot be played."; });
  }
  toggleSound() {
    this.hearing = !this.hearing;
    this.hear.setAttribute("aria-pressed", String(this.hearing));
    if (!this.hearing) this.audio.pause();
  }
  open() { if (this.at >= 0) this.component.setTriggerValue("event", { feature: this.data.feature[this.at] }); }
  zoomAt(x, y, factor) {
    const zoom = Math.max(1, Math.min(40, this.zoom * factor)), by = zoom / this.zoom;
    this.left = x - (x - this.left) * by; this.top = y - (y - this.top) * by; this.zoom = zoom;
    if (zoom === 1) this.left = this.top = 0;
    this.draw(); this.say();
  }
  listen() {
    const here = (event) => { const box = this.canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
    let held = null;
    this.canvas.addEventListener("pointerdown", (event) => {
      const [x, y] = here(event);
      held = { x, y, left: this.left, top: this.top, moved: false };
      this.canvas.setPointerCapture(event.pointerId);
    });
    this.canvas.addEventListener("pointermove", (event) => {
      const [x, y] = here(event);
      if (!held) { this.show(this.nearest(x, y)); return; }
      held.moved ||= Math.hypot(x - held.x, y - held.y) > CLICK_PX;
      if (held.moved) { this.left = held.left + x - held.x; this.top = held.top + y - held.y; this.show(-1); this.draw(); }
    });
    this.canvas.addEventListener("pointerup", (event) => {
      const clicked = held && !held.moved;
      held = null;
      if (clicked) { this.show(this.nearest(...here(event))); this.open(); }
    });
    this.canvas.addEventListener("pointercancel", () => { held = null; });
    this.canvas.addEventListener("pointerleave", () => { if (!held) { this.show(-1); this.audio.pause(); } });
    this.canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return;   // a wheel alone scrolls the page
      event.preventDefault();
      this.zoomAt(...here(event), event.deltaY < 0 ? 1.25 : 0.8);
    }, { passive: false });
    this.canvas.addEventListener("keydown", (event) => {
      const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (way) this.show(this.toward(...way));
      else if (event.key === "Enter") this.open();
      else if (event.key.toLowerCase() === "p") this.play();
      else if (event.key === "+" || event.key === "=") this.zoomAt(this.width / 2, this.height / 2, 1.25);
      else if (event.key === "-") this.zoomAt(this.width / 2, this.height / 2, 0.8);
      else if (event.key === "Escape") { this.show(-1); this.audio.pause(); }
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
  }
  close() {
    window.removeEventListener("sonoscope-play", this.onOther);
    clearTimeout(this.waiting);
    this.sizes.disconnect();
    this.audio.pause(); this.audio.removeAttribute("src");
  }
}

export default function (component) {
  const parent = component.parentElement;
  if (!maps.has(parent)) maps.set(parent, new FeatureMap(parent.querySelector(".map")));
  maps.get(parent).update(component);
  return () => { const gone = maps.get(parent); if (gone) { gone.close(); maps.delete(parent); } };
}
