// Kinds of outputs: how each is drawn over the image, explained beside it, and put into words at a
// point. The facts of about.json decide on the kind; a map of numbers of an unknown kind is drawn
// from its smallest value (black) to its largest (light yellow).
//
// `output` is {dims, data} of one image, `facts` its entry in about.json, `i` a pixel, counted row
// by row. A painter returns a color, or null where the image is left as it is.

import { depthColor, depthLimits, hatch, magma, magmaBar, normalColor, percentile } from "./colors.js";

const labels = {
  opacity: 60,
  painter(output, facts) {
    const classes = classesOf(output, facts);
    return (i) => mean(classes(i).map((k) => facts.palette[k]));
  },
  legend(output, facts) {
    const classes = classesOf(output, facts);
    const pixels = pixelsOf(output);
    const counts = facts.classes.map(() => 0);
    for (let i = 0; i < pixels; i++) for (const k of classes(i)) counts[k]++;
    const order = [...counts.keys()].sort((a, b) => counts[b] - counts[a]);
    const entry = (k) =>
      element("li", {}, [
        swatch(facts.palette[k]),
        element("span", {}, [facts.classes[k]]),
        element("span", { className: "share" }, counts[k] ? [percent(counts[k] / pixels)] : []),
      ]);
    const seen = order.filter((k) => counts[k]);
    const unseen = order.filter((k) => !counts[k]);
    const list = (entries) => element("ul", { className: "classes" }, entries.map(entry));
    const rest = element("details", {}, [
      element("summary", {}, [`${unseen.length} not in this image`]),
      list(unseen),
    ]);
    return element("div", {}, unseen.length ? [list(seen), rest] : [list(seen)]);
  },
  read(output, facts, i) {
    const names = classesOf(output, facts)(i).map((k) => facts.classes[k]);
    return names.join(", ") || "none of the classes";
  },
};

const confidence = {
  opacity: 100,
  painter: (output) => (i) => magma(least(output, i)),
  legend: () => bar(false, "0 %", "confidence", "100 %"),
  read: (output, facts, i) => `${percent(least(output, i))} sure`,
};

const depth = {
  opacity: 100,
  painter({ data }) {
    const limits = depthLimits(data);
    return (i, x, y) => (data[i] > 0 && isFinite(data[i]) ? depthColor(data[i], limits) : hatch(x, y));
  },
  legend({ data }) {
    const limits = depthLimits(data);
    if (!limits) return element("p", {}, ["No depth is known."]);
    const middle = Math.sqrt(limits[0] * limits[1]);
    return bar(true, ...[limits[0], middle, limits[1]].map((m) => `${m.toPrecision(2)} m`));
  },
  read: ({ data }, facts, i) => `${data[i].toFixed(2)} m away`,
};

const normals = {
  opacity: 100,
  painter:
    ({ data }) =>
    (i, x, y) =>
      normalColor(data[3 * i], data[3 * i + 1], data[3 * i + 2]) ?? hatch(x, y),
  legend() {
    const size = 96;
    const ball = element("canvas", { width: size, height: size, className: "ball" });
    paint(ball, (i, column, row) => {
      const [x, y] = [column, row].map((place) => (2 * place + 1) / size - 1);
      return x * x + y * y < 1 ? normalColor(x, y, -Math.sqrt(1 - x * x - y * y)) : null;
    });
    const words = "Directions of surfaces, as on this ball: red to the right, green up, blue towards you.";
    return element("div", { className: "facing" }, [ball, element("p", {}, [words])]);
  },
  read({ data }, facts, i) {
    const [x, y, z] = data.slice(3 * i, 3 * i + 3);
    const part = (value, one, other) => `${Math.abs(value).toFixed(2)} ${value < 0 ? other : one}`;
    return `faces ${part(x, "right", "left")}, ${part(y, "down", "up")}, ${part(z, "away", "here")}`;
  },
};

const uncertainty = {
  opacity: 100,
  painter(output) {
    const most = mostOf(output);
    return (i) => magma(output.data[i] / most);
  },
  legend: (output) => bar(false, "0°", "expected error", `${mostOf(output).toFixed(0)}°`),
  read: ({ data }, facts, i) => `off by ${data[i].toFixed(0)}° or so`,
};

const color = {
  opacity: 100,
  painter:
    ({ data }) =>
    (i) => [data[3 * i], data[3 * i + 1], data[3 * i + 2]],
  legend: () =>
    element("p", {}, ["Colors that the network predicts from the lightness of the image alone."]),
  read: ({ data }, facts, i) => `R G B ${data.slice(3 * i, 3 * i + 3).join(" ")}`,
};

const numbers = {
  opacity: 100,
  painter(output) {
    const [low, high] = limitsOf(output);
    return (i, x, y) => {
      const value = average(output, i);
      return isFinite(value) ? magma((value - low) / Math.max(high - low, 1e-12)) : hatch(x, y);
    };
  },
  legend(output, { unit }) {
    const [low, high] = limitsOf(output).map((value) => value.toPrecision(3));
    return bar(false, low, unit ?? "", high);
  },
  read(output, { unit }, i) {
    const values = pixelOf(output, i).slice(0, 4).map((value) => value.toPrecision(3));
    return [values.join(" "), unit].filter(Boolean).join(" ");
  },
};

/** The kind of an output, from its facts. */
export function kindOf(facts) {
  if ("classes" in facts) return labels;
  if ("of" in facts) return confidence;
  if (facts.unit === "meter") return depth;
  if (facts.unit === "unit vector") return normals;
  if (facts.unit === "degree") return uncertainty;
  return facts.unit?.startsWith("RGB") ? color : numbers;
}

/** Color a canvas pixel by pixel. */
export function paint(canvas, painter) {
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const { width, height } = canvas;
  const image = context.createImageData(width, height);
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      const color = painter(i, x, y);
      if (color) image.data.set([...color, 255], 4 * i);
    }
  }
  context.putImageData(image, 0, 0);
}

/** A new element with properties and children, text among them. */
export function element(tag, properties = {}, children = []) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function pixelsOf({ dims }) {
  return dims[1] * dims[2];
}

/** A function from a pixel to its classes: one, or in multilabel maps all that are present. */
function classesOf({ data }, { mode, classes }) {
  if (mode !== "multilabel") return (i) => [data[i]];
  const n = classes.length;
  return (i) => [...data.subarray(n * i, n * i + n).keys()].filter((k) => data[n * i + k]);
}

/** The values of all channels at a pixel, an array. */
function pixelOf({ dims, data }, i) {
  const n = dims[3] ?? 1;
  return [...data.subarray(n * i, n * i + n)];
}

/** The confidence at a pixel; of several classes, the smallest. */
function least(output, i) {
  return Math.min(...pixelOf(output, i));
}

/** The mean of the channels at a pixel. */
function average(output, i) {
  const values = pixelOf(output, i);
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** The smallest and the largest of these means. */
function limitsOf(output) {
  let [low, high] = [Infinity, -Infinity];
  for (let i = 0; i < pixelsOf(output); i++) {
    const value = average(output, i);
    if (!isFinite(value)) continue;
    [low, high] = [Math.min(low, value), Math.max(high, value)];
  }
  return low <= high ? [low, high] : [0, 0];
}

function mostOf({ data }) {
  return Math.max(percentile(data.slice().sort(), 98), 1e-6);
}

function mean(colors) {
  if (!colors.length) return null;
  return [0, 1, 2].map((c) => colors.reduce((sum, color) => sum + color[c], 0) / colors.length);
}

function percent(share) {
  return share < 0.01 ? "< 1 %" : `${Math.round(100 * share)} %`;
}

function swatch(color) {
  const made = element("span", { className: "swatch" });
  made.style.background = `rgb(${color})`;
  return made;
}

function bar(brightFirst, ...words) {
  const scale = element("div", { className: "bar" });
  scale.style.background = magmaBar(brightFirst);
  const ticks = words.map((word) => element("span", {}, [word]));
  return element("div", {}, [scale, element("div", { className: "ticks" }, ticks)]);
}
