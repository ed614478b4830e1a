// A plotly figure: drawn once it is in sight or nothing else is to do, walked by keys, tells Python which mark was clicked.
const figures = new WeakMap();
const OUT_OF_SIGHT_MS = 1500; // what is out of sight waits so long

// One script for all figures of the page. A failed load is tried again by the next figure.
function plotly(name) {
  if (!window.sonoscopePlotly) {
    window.sonoscopePlotly = new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = address("scripts", name);
      script.onload = () => resolve(window.Plotly);
      script.onerror = () => { window.sonoscopePlotly = undefined; script.remove(); reject(new Error(`${name} could not be loaded`)); };
      document.head.append(script);
    });
  }
  return window.sonoscopePlotly;
}

const FULL_SCREEN_ICON = { width: 24, height: 24, path: "M3 3h7v3H6v4H3zm11 0h7v7h-3V6h-4zM3 14h3v4h4v3H3zm15 0h3v7h-7v-3h4z" };

class Figure {
  constructor(parent) {
    this.place = parent.querySelector(".so-figure");
    this.said = parent.querySelector(".so-figure-said");
    this.work = Promise.resolve();
    this.at = -1;
    this.inSight = new IntersectionObserver((seen) => seen.some((one) => one.isIntersecting) && this.appear());
    this.width = new ResizeObserver(() => requestAnimationFrame(() => this.fit()));
    this.place.addEventListener("keydown", (event) => this.key(event));
    this.place.addEventListener("blur", () => this.leave());
    this.place.addEventListener("fullscreenchange", () => this.fit());
  }
  update({ data, setTriggerValue }) {
    this.open = (carried) => setTriggerValue("clicked", carried);
    const isSame = this.data && data.figure === this.data.figure;
    this.data = data;
    if (isSame) return;
    this.figure = JSON.parse(data.figure);
    if (data.selectable) this.figure.layout.dragmode = false;
    this.height = this.figure.layout.height || 450;
    this.place.style.height = `${this.height}px`;
    const keys = data.selectable ? " Arrow keys walk the marks, Enter opens one." : "";
    this.place.setAttribute("aria-label", data.title + "." + keys);
    this.place.setAttribute("role", data.selectable ? "application" : "group");
    if (data.selectable) this.place.tabIndex = 0;
    if (this.hasAppeared) this.draw();
    else {
      this.inSight.observe(this.place);
      setTimeout(() => (window.requestIdleCallback || setTimeout)(() => this.appear()), OUT_OF_SIGHT_MS);
    }
  }
  appear() {
    if (this.hasAppeared || this.isGone) return;
    this.hasAppeared = true;
    this.inSight.disconnect();
    this.width.observe(this.place);
    this.draw();
  }
  draw() {
    this.work = this.work.then(() => this.drawNow()).catch((error) => {
      this.place.textContent = `This chart could not be drawn (${error.message}). Reload the page to try again.`;
    });
  }
  async drawNow() {
    const { figure, data } = this;
    this.plotly = await plotly(data.plotly);
    if (this.isGone) return;
    const fullScreen = { name: "fullScreen", title: "Full screen", icon: FULL_SCREEN_ICON, click: () => this.toggle() };
    const svg = { name: "saveSvg", title: "Download as SVG, with caption and numbers", icon: SVG_ICON, click: () => this.save() };
    await this.plotly.react(this.place, figure.data, figure.layout, {
      displaylogo: false,
      modeBarButtons: [["toImage", svg, fullScreen]],
      toImageButtonOptions: { filename: data.file_name, scale: 2 },
    });
    if (!this.isDrawn && data.selectable) {
      this.place.on("plotly_click", ({ points }) => this.choose(points[0]));
      this.place.on("plotly_hover", ({ points }) => this.pointer(carried(points[0]) ? "pointer" : ""));
      this.place.on("plotly_unhover", () => this.pointer(""));
    }
    this.isDrawn = true;
    this.place.dataset.drawn = "";
    this.marks = data.selectable ? marksOf(this.place._fullData) : [];
    this.at = Math.min(this.at, this.marks.length - 1);
  }
  async save() {
    const { width, height, paper_bgcolor, font } = this.place._fullLayout;
    const drawing = await this.plotly.toImage(this.place, { format: "svg", imageDataOnly: true, width, height });
    const color = { ground: paper_bgcolor, text: font.color };
    saveAs(svgOf(drawing, this.data, color, width, height), `${this.data.file_name}.svg`);
  }
  pointer(cursor) {
    this.place.querySelectorAll(".drag").forEach((layer) => { layer.style.cursor = cursor; });
  }
  choose(point) {
    const what = point && carried(point);
    if (what) this.open(what);
  }
  toggle() {
    if (document.fullscreenElement) document.exitFullscreen();
    else this.place.requestFullscreen();
  }
  fit() {
    if (this.isGone || !this.isDrawn) return;
    const height = document.fullscreenElement === this.place ? window.innerHeight : this.height;
    const width = this.place.clientWidth, now = this.place._fullLayout;
    if (width && (width !== now.width || height !== now.height)) this.plotly.relayout(this.place, { height, width });
  }
  key(event) {
    if (event.target !== this.place || !this.marks?.length || event.altKey || event.ctrlKey || event.metaKey) return;
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) this.walk((this.at + step + this.marks.length) % this.marks.length);
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") this.walk(this.nextSeries(event.key === "ArrowDown" ? 1 : -1));
    else if (event.key === "Home") this.walk(0);
    else if (event.key === "End") this.walk(this.marks.length - 1);
    else if (event.key === "Enter" && this.at >= 0) this.open(this.marks[this.at].carried);
    else if (event.key === "Escape") this.leave();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
  nextSeries(step) {
    if (this.at < 0) return 0;
    const firsts = this.marks.flatMap((mark, i) => (i === 0 || mark.row !== this.marks[i - 1].row ? [i] : []));
    const own = firsts.filter((first) => first <= this.at).length - 1;
    return firsts[(own + step + firsts.length) % firsts.length];
  }
  walk(to) {
    this.at = to;
    const { hover, subplot } = this.marks[to];
    this.plotly.Fx.hover(this.place, [hover], subplot);
    const label = [...this.place.querySelectorAll(".hoverlayer .hovertext text")].map((text) => lines(text));
    this.said.textContent = label.filter(Boolean).join(", ");
  }
  leave() {
    this.at = -1;
    this.said.textContent = "";
    if (this.isDrawn) this.plotly.Fx.unhover(this.place);
  }
  close() {
    this.isGone = true;
    this.inSight.disconnect();
    this.width.disconnect();
    if (this.isDrawn) this.plotly.purge(this.place);
  }
}

// What a mark carries to be opened, as a list; null when it carries nothing.
function carried({ customdata }) {
  if (customdata === undefined || customdata === null || customdata === "") return null;
  return typeof customdata === "object" ? Array.from(customdata) : [customdata];
}

// The text of a hover label, its lines apart.
function lines(text) {
  const parts = [...text.querySelectorAll("tspan.line")].map((line) => line.textContent);
  return (parts.length ? parts : [text.textContent]).join(", ");
}

// Every mark that can be opened, in the order of the drawing: what it carries, its row, and how plotly hovers over it.
function marksOf(traces) {
  return traces.filter((trace) => trace.visible === true && trace.customdata).flatMap((trace) => {
    const subplot = `${trace.xaxis || "x"}${trace.yaxis || "y"}`;
    const isGrid = trace.type === "heatmap";
    const cells = isGrid
      ? trace.customdata.flatMap((row, r) => Array.from(row, (what, c) => [what, r, { xval: c, yval: r }]))
      : Array.from(trace.customdata, (what, i) => [what, trace.index, { curveNumber: trace.index, pointNumber: i }]);
    return cells
      .map(([what, row, hover]) => ({ carried: carried({ customdata: what }), row: `${trace.index}-${row}`, hover, subplot }))
      .filter((mark) => mark.carried);
  });
}

export default function (component) {
  const parent = component.parentElement;
  if (!figures.has(parent)) figures.set(parent, new Figure(parent));
  figures.get(parent).update(component);
  return () => { const gone = figures.get(parent); if (gone) { gone.close(); figures.delete(parent); } };
}
