// What the clip player draws: lines over a picture, axis, legend, icons and the sentence about a trace.
// Text reaches the page by textContent only.
const SVG = "http://www.w3.org/2000/svg";
const PLAY = "M1 0 L11 5.5 L1 11 Z", PAUSE = "M1 0 H4 V11 H1 Z M7 0 H10 V11 H7 Z";

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined && text !== null) element.textContent = text;
  return element;
}
// As explorer.text.number: a true minus, thousands apart, and nothing rounded to a zero that it is not.
function fixed(value, digits) {
  const size = Math.abs(value), isRounded = size >= 1e-12 && Number(size.toFixed(digits)) === 0;
  const [ones, decimals] = size.toFixed(digits).split(".");
  let text = ones.replace(/\B(?=(\d{3})+$)/g, ",") + (decimals ? `.${decimals}` : "");
  if (isRounded) {
    const [mantissa, exponent] = size.toExponential(1).split("e-");
    text = size >= 1e-4 ? String(Number(size.toPrecision(2))) : `${mantissa.replace(".0", "")}e\u2212${exponent}`;
  }
  return (value < 0 && /[1-9]/.test(text) ? "\u2212" : "") + text;
}
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

// The values outside giant frames, as [value, index]; all where nothing else is left.
function usualOf(trace) {
  const known = trace.values.map((v, i) => [v, i]).filter(([v]) => v !== null);
  const isIn = (i) => { const t = trace.t0_s + i * trace.hop_s; return trace.giants.some(([from, to]) => t >= from && t <= to); };
  const usual = trace.giants.length ? known.filter(([, i]) => !isIn(i)) : known;
  return usual.length ? usual : known;
}

function peakOf(clip) {
  const trace = clip.traces[0];
  if (!trace) return null;
  let best = -1;
  for (const [v, i] of usualOf(trace)) if (best < 0 || v > trace.values[best]) best = i;
  return best < 0 ? null : { time: trace.t0_s + best * trace.hop_s, value: trace.values[best] };
}

function summaryOf(clip, peak) {
  const parts = [`Clip of ${clip.duration_s.toFixed(2)} seconds.`];
  if (clip.value !== null) parts.push(`Activation ${fixed(clip.value, 3)}.`);
  if (clip.note) parts.push(clip.note);
  for (const trace of clip.traces) {
    const known = usualOf(trace).map(([v]) => v);
    if (!known.length) continue;
    const mean = known.reduce((a, b) => a + b, 0) / known.length;
    parts.push(`${trace.name}: mean ${fixed(mean, 3)}, lowest ${fixed(Math.min(...known), 3)}, ` +
      `highest ${fixed(Math.max(...known), 3)}` +
      (trace === clip.traces[0] && peak ? ` at ${peak.time.toFixed(2)} seconds` : "") +
      (trace.baseline === null ? "." : `, mean over the corpus ${fixed(trace.baseline, 3)}, above it for ` +
        `${Math.round(100 * known.filter((v) => v > trace.baseline).length / known.length)} % of the time.`) +
      (trace.giants.length ? ` Left out: ${trace.giants.length === 1 ? "one stretch" : `${trace.giants.length} stretches`} of giant frames.` : ""));
  }
  if (!clip.traces.length) parts.push("No trace is drawn.");
  return parts.join(" ");
}

function drawTraces(clip, low, high) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${clip.duration_s} 1`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const y = (v) => Math.max(0.01, Math.min(0.99, 0.96 - 0.9 * (v - low) / (high - low))).toFixed(4);
  const add = (d, className, color, kind) => {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", d);
    path.setAttribute("class", className);
    if (color) path.style[kind] = color;
    svg.append(path);
  };
  for (const [from, to] of giantsOf(clip)) add(`M${from} 0H${to}V1H${from}Z`, "giant");
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

// Where giant frames are, of any line: what is drawn there says little of the sound.
const giantsOf = (clip) => clip.traces.flatMap((trace) => trace.giants);

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
  for (let t = 0, i = 0; t < duration - step * 0.9 || i === 0; t = ++i * step) {
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

// f0 and formants (the server's own measurement of the preview) and the waveform's outline, over the picture.
function drawContours(found, duration) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${duration} 1`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", "contours");
  const add = (d, className) => {
    if (!d) return;
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", d);
    path.setAttribute("class", className);
    svg.append(path);
  };
  const [low, high] = found.outline, part = duration / Math.max(1, low.length);
  const loudest = Math.max(1e-6, ...low.map(Math.abs), ...high.map(Math.abs));
  const at = (i, v) => `${((i + 0.5) * part).toFixed(4)} ${(0.84 - 0.14 * v / loudest).toFixed(4)}`;
  add("M" + high.map((v, i) => at(i, v)).join("L") + "L" + low.map((v, i) => at(i, v)).reverse().join("L") + "Z", "outline");
  for (const [name, line] of Object.entries(found.lines)) {
    let d = "", open = false;
    line.height.forEach((h, i) => {
      if (h === null) { open = false; return; }
      d += `${open ? "L" : "M"}${(found.t0_s + i * found.hop_s).toFixed(3)} ${(1 - h).toFixed(4)}`;
      open = true;
    });
    add(d, `under ${name === "f0" ? "f0" : "formant"}`);
    add(d, name === "f0" ? "f0" : "formant");
  }
  return svg;
}

function middle(values) {
  const known = values.filter((v) => v !== null).sort((a, b) => a - b);
  return known.length ? known[known.length >> 1] : null;
}

// 'Median f0 440 Hz, F1 700 Hz ...', or that nothing is voiced.
function contourWords(found) {
  const said = Object.entries(found.lines).map(([name, line]) => [name, middle(line.hz)]).filter(([, hz]) => hz !== null);
  if (!said.length) return "No voiced frame: no f0, no formants.";
  return `Medians over voiced frames: ${said.map(([name, hz]) => `${name} ${Math.round(hz)} Hz`).join(", ")}.`;
}
