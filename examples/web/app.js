// The page: takes an image, has the worker run the model, and shows one of its outputs over it.

import { element, kindOf, paint } from "./kinds.js";
import { drawn, fitted, opened, rgbOf, sizeOf } from "./image.js";

const SHOWN_SIDE = 1280; // of the image on the page; the input of the model has a size of its own

const at = (id) => document.getElementById(id);
const [stage, photo, overlay] = ["stage", "photo", "overlay"].map(at);
const work = document.createElement("canvas"); // the input of the model

let about; // about.json
let image = null; // the chosen image, an <img>
let outputs = null; // {name: {dims, data}} of the latest run
let chosen = null; // the name of the output that is shown
let kinds = {}; // {name: how the output is drawn}
let opacity = {}; // {name: percent}
let spot = [0.5, 0.5]; // the point with values in words, as shares of width and height

// For tests and the curious: the last outputs of the model.
window.kerasDense = { last: null };

// ---- the model

let worker = null;
let answer = null; // resolves the run that is under way

function startWorker() {
  worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  worker.onmessage = ({ data }) => {
    if (data.kind === "loading") {
      if (data.share < 1) say(`Loading the model: ${Math.round(100 * data.share)} %`);
      else say("Preparing the model …");
    } else if (data.kind === "ready") {
      if (!answer) say("Ready. Choose an image, or drop one anywhere.");
    } else if (data.kind === "failed" && !answer) {
      stopWorker();
      say("");
      complain(`The model cannot be loaded: ${data.message}`);
    } else {
      answer(data);
    }
  };
  worker.onerror = (event) => {
    const message = event.message || "worker.js or ort/ort.js is missing or cannot run here";
    worker.onmessage({ data: { kind: "failed", message } });
  };
}

// After a failure (mostly of memory) the next run starts a new one.
function stopWorker() {
  worker.terminate();
  worker = null;
}

function run(message) {
  if (!worker) startWorker();
  return new Promise((resolve) => {
    answer = resolve;
    worker.postMessage(message);
  });
}

// All that is asked for during a run is computed once after it.
let running = false;
let asked = false;

async function predict() {
  asked = true;
  if (running) return;
  running = true;
  stage.classList.add("busy");
  while (asked) {
    asked = false;
    await predictOnce();
  }
  stage.classList.remove("busy");
  running = false;
}

async function predictOnce() {
  const source = image;
  const [, fixedHeight, fixedWidth] = about.inputs.images.shape;
  const fixed = fixedHeight && fixedWidth && [fixedWidth, fixedHeight];
  const size = fixed || fitted(source, Number(at("side").value));
  drawn(source, work, size);
  say(`Computing ${sizeOf(work)} pixels …`);
  const { width, height } = work;
  const reply = await run({ pixels: rgbOf(work), width, height });
  answer = null;
  if (asked) return; // another image or size is wanted by now
  if (reply.kind === "failed") {
    stopWorker();
    say("");
    const small = Math.max(width, height) < 64;
    complain(
      `The model could not compute ${sizeOf(work)} pixels. ` +
        (small ? "They may be too few for it." : "A smaller longest side takes less memory.") +
        ` The error: ${reply.message}`,
    );
    return;
  }
  outputs = window.kerasDense.last = reply.outputs;
  const seconds = reply.milliseconds / 1000;
  say(
    `${sizeOf(source)} pixels, computed at ${sizeOf(work)} in ${seconds.toFixed(2)} s ` +
      "by WebAssembly (wasm, 1 thread)",
  );
  show();
}

// ---- the image

let taken = 0; // files so far: a slow one must not replace a later one

async function take(file) {
  if (!file || !about) return;
  const turn = ++taken;
  complain("");
  let next;
  try {
    next = await opened(file);
  } catch (error) {
    if (turn === taken) complain(error.message);
    return;
  }
  if (turn !== taken) return;
  image = next;
  outputs = null;
  const size = fitted(image, SHOWN_SIDE);
  drawn(image, photo, size);
  stage.style.setProperty("--ratio", size[0] / size[1]);
  stage.classList.add("filled");
  stage.tabIndex = 0;
  overlay.hidden = true;
  at("spot").textContent = "";
  at("legend").replaceChildren();
  await predict();
}

async function takeSample(path) {
  const response = await fetch(path);
  if (!response.ok) return complain(`${path}: the server answers ${response.status}`);
  return take(new File([await response.blob()], path));
}

// ---- the drawing

function show() {
  if (!outputs) return;
  const [kind, output, facts] = [kinds[chosen], outputs[chosen], about.outputs[chosen]];
  [, overlay.height, overlay.width] = output.dims;
  paint(overlay, kind.painter(output, facts));
  overlay.hidden = false;
  at("legend").replaceChildren(kind.legend(output, facts));
  read();
}

function choose(name) {
  chosen = name;
  at("opacity").value = opacity[name];
  fade();
  show();
}

function fade() {
  const percent = Number(at("opacity").value);
  opacity[chosen] = percent;
  overlay.style.opacity = percent / 100;
  at("percent").textContent = `${percent} %`;
}

function read() {
  if (!outputs) return;
  const [, height, width] = outputs[chosen].dims;
  const x = Math.min(Math.floor(spot[0] * width), width - 1);
  const y = Math.min(Math.floor(spot[1] * height), height - 1);
  const words = Object.entries(kinds)
    .filter(([name]) => outputs[name].dims[1] === height && outputs[name].dims[2] === width)
    .map(([name, kind]) => kind.read(outputs[name], about.outputs[name], y * width + x));
  at("spot").textContent = words.join(" · ");
  at("cross").style.left = `${100 * spot[0]}%`;
  at("cross").style.top = `${100 * spot[1]}%`;
}

function moveSpot(x, y) {
  spot = [x, y].map((share) => Math.min(Math.max(share, 0), 1));
  read();
}

function say(words) {
  at("status").textContent = words;
}

function complain(words) {
  at("problem").textContent = words;
}

// ---- input of the user

at("file").onchange = ({ target }) => {
  take(target.files[0]);
  target.value = ""; // allows to choose the same file again
};
at("opacity").oninput = fade;
at("side").onchange = () => image && predict();

document.ondragover = (event) => {
  event.preventDefault();
  document.body.classList.add("dragging");
};
document.ondragleave = (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dragging");
};
document.ondrop = (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  take(event.dataTransfer.files[0]);
};
document.onpaste = (event) => take(event.clipboardData.files[0]);

stage.onpointermove = stage.onpointerdown = (event) => {
  const box = stage.getBoundingClientRect();
  moveSpot((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
};
stage.onkeydown = (event) => {
  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const step = steps[event.key];
  if (!step || !outputs) return;
  event.preventDefault();
  const size = event.shiftKey ? 0.1 : 0.01;
  moveSpot(spot[0] + size * step[0], spot[1] + size * step[1]);
};

// ---- begin

async function begin() {
  const json = async (path) => {
    const response = await fetch(path);
    if (!response.ok) throw new Error(`${path}: the server answers ${response.status}`);
    return response.json();
  };
  about = await json("about.json");
  for (const [name, facts] of Object.entries(about.outputs)) kinds[name] = kindOf(facts);
  const names = Object.keys(kinds);
  for (const name of names) {
    opacity[name] = kinds[name].opacity;
    const radio = element("input", { type: "radio", name: "output", value: name });
    radio.onchange = () => choose(name);
    const kin = names.filter((other) => kinds[other] === kinds[name]);
    const words = kin.length > 1 ? name.replaceAll("_", " ") : name.split("_").at(-1);
    at("outputs").append(element("label", {}, [radio, words]));
  }
  at("outputs").querySelector("input").checked = true;
  choose(names[0]);
  at("model").textContent = about.model;
  const [, fixedHeight, fixedWidth] = about.inputs.images.shape;
  at("size").hidden = Boolean(fixedHeight && fixedWidth);
  startWorker();
  const samples = await json("samples.json");
  samples.forEach((path, n) => {
    const button = element("button", { type: "button" }, [
      element("img", { src: path, alt: `Sample ${n + 1}` }),
    ]);
    button.onclick = () => takeSample(path);
    at("samples").append(button);
  });
}

begin().catch((error) => {
  say("");
  complain(error.message);
});
