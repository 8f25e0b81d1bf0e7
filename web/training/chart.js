// One small chart as SVG: a line over the epochs, with a band of one standard deviation around it.

const SPACE = "http://www.w3.org/2000/svg";
const LINE = "#60a5fa";
const BAND = "rgba(96, 165, 250, 0.22)";
const MARK = "#5cbe7e"; // the epoch that is kept
const GUIDE = "rgba(150, 156, 168, 0.35)";

function svg(tag, attributes, text) {
  const made = document.createElementNS(SPACE, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  if (text !== undefined) made.textContent = text;
  return made;
}

/** A number with about three digits that tell it from its neighbours. */
export function short(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1000 || size < 0.001) return value.toExponential(1);
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3);
}

/** A title of so many letters: a longer one loses its middle. */
export function fitted(title, most) {
  if (title.length <= most) return title;
  const end = Math.floor(most / 2) - 1;
  return `${title.slice(0, most - end - 1)}\u2026${title.slice(-end)}`;
}

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

function path(points) {
  return points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
}

/**
 * A titled chart, or null when there is no number to show.
 *
 * values: one number an epoch, null where there is none. std: the same, drawn as a band around them.
 * floor: a value the axis always includes. mark: the epoch, from 0, to mark with a line from top to bottom.
 */
export function chart(title, values, { std = [], floor = null, wide = false, mark = null } = {}) {
  const known = values.map((value, i) => [i, value]).filter(([, value]) => isNumber(value));
  if (known.length === 0) return null;
  const around = (i) => (isNumber(std[i]) ? std[i] : 0);
  const lows = known.map(([i, value]) => value - around(i));
  const highs = known.map(([i, value]) => value + around(i));
  let low = Math.min(...lows, ...(floor === null ? [] : [floor]));
  let high = Math.max(...highs, ...(floor === null ? [] : [floor]));
  if (high - low < 1e-12) [low, high] = [low - 0.5, high + 0.5];

  const [width, height] = wide ? [430, 110] : [140, 76]; // near the size it is shown at, so that words can be read
  const [left, right, top, bottom] = [6, 6, wide ? 20 : 32, 6];
  const x = (i) => left + ((width - left - right) * i) / Math.max(1, values.length - 1);
  const y = (value) => top + ((height - top - bottom) * (high - value)) / (high - low);

  const latest = known[known.length - 1][1];
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", width: "100%" });
  drawing.setAttribute("aria-label", `${title}: ${short(latest)}`);
  drawing.style.display = "block";
  drawing.append(
    svg("rect", { x: 0, y: 0, width, height, rx: 4, fill: "currentColor", opacity: 0.05 }),
    svg("text", { x: left, y: 14, "font-size": 11, fill: "currentColor", opacity: 0.8 }, fitted(title, wide ? 72 : 24)),
    svg("title", {}, title),
    svg("text", { x: width - right, y: wide ? 14 : 28, "font-size": 11, fill: "currentColor", "text-anchor": "end" }, short(latest)),
  );
  if (wide) {
    for (const value of [low, high]) {
      drawing.append(
        svg("line", { x1: left, x2: width - right, y1: y(value), y2: y(value), stroke: GUIDE, "stroke-width": 1 }),
        svg("text", { x: left + 2, y: y(value) + (value === low ? -3 : 11), "font-size": 10, fill: "currentColor", opacity: 0.55 }, short(value)),
      );
    }
  }
  if (known.some(([i]) => around(i) > 0)) {
    const upper = known.map(([i, value]) => [x(i), y(value + around(i))]);
    const lower = known.map(([i, value]) => [x(i), y(value - around(i))]).reverse();
    drawing.append(svg("path", { d: `${path([...upper, ...lower])}Z`, fill: BAND }));
  }
  if (mark !== null && mark < values.length) {
    drawing.append(svg("line", { x1: x(mark), x2: x(mark), y1: top, y2: height - bottom, stroke: MARK, "stroke-width": 1.5 }));
  }
  const line = known.map(([i, value]) => [x(i), y(value)]);
  drawing.append(svg("path", { d: path(line), fill: "none", stroke: LINE, "stroke-width": 2, "stroke-linejoin": "round" }));
  const [lastX, lastY] = line[line.length - 1];
  drawing.append(svg("circle", { cx: lastX, cy: lastY, r: 3, fill: LINE }));
  return drawing;
}
