// A figure as one SVG file: the drawing with its title above, its caption below, and its numbers inside (<metadata>).
const SVG_ICON = { width: 24, height: 24, path: "M4 3h11l5 5v13H4zm10 1.5V9h4.5zM7 12v6h2v-6zm4 0l2 6h1l2-6h-2l-.5 2.5L13 12z" };
const SVG_SPACE = "http://www.w3.org/2000/svg", LINE_PX = 17, EDGE_PX = 14;

function wrapped(text, width) {
  const most = Math.max(20, Math.floor((width - 2 * EDGE_PX) / 6.2)), lines = [];
  for (const word of text.split(/\s+/)) {
    const last = lines.length - 1;
    if (last >= 0 && lines[last].length + word.length < most) lines[last] += ` ${word}`;
    else lines.push(word);
  }
  return lines;
}

function svgOf(drawing, { title, caption, figure }, color, width, height) {
  const page = new DOMParser().parseFromString(drawing, "image/svg+xml"), plot = page.documentElement;
  const below = caption ? wrapped(caption, width) : [], above = wrapped(title, width);
  const top = above.length * LINE_PX + EDGE_PX, whole = top + height + below.length * LINE_PX + EDGE_PX;
  const outer = page.createElementNS(SVG_SPACE, "svg");
  const add = (name, text, values = {}) => {
    const made = page.createElementNS(SVG_SPACE, name);
    made.textContent = text.replace(/[\u0000-\u0008\u000b-\u001f\ufffe\uffff]/g, "");
    for (const [key, value] of Object.entries(values)) made.setAttribute(key, value);
    outer.append(made);
    return made;
  };
  const values = { width, height: whole, viewBox: `0 0 ${width} ${whole}`, "font-family": "sans-serif", "font-size": 12 };
  for (const [key, value] of Object.entries(values)) outer.setAttribute(key, value);
  add("title", title);
  add("desc", caption || title);
  add("metadata", JSON.stringify(JSON.parse(figure).data));
  add("rect", "", { width, height: whole, fill: color.ground });
  const write = (lines, from, more) => lines.forEach((line, i) =>
    add("text", line, { x: EDGE_PX, y: from + (i + 1) * LINE_PX - 4, fill: color.text, ...more }));
  write(above, 4, { "font-weight": 600, "font-size": 13 });
  page.replaceChild(outer, plot);
  plot.setAttribute("y", top);
  outer.append(plot);
  write(below, top + height, { "fill-opacity": 0.8 });
  return new XMLSerializer().serializeToString(page);
}

function saveAs(text, name) {
  const address = URL.createObjectURL(new Blob([text], { type: "image/svg+xml" }));
  const link = Object.assign(document.createElement("a"), { href: address, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}
