// Loads the model and runs it, beside the page, so that the page stays responsive.
//
// Takes {pixels: Uint8Array, height, width}; answers {kind: "loading", share}, {kind: "ready"},
// {kind: "done", outputs: {name: {dims, data}}, milliseconds} or {kind: "failed", message}.

import * as ort from "./ort/ort.js";

// More threads need a page that is isolated from other sites, by headers that few hosts send.
ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = {
  wasm: new URL("./ort/ort-wasm-simd-threaded.wasm", import.meta.url).href,
};

const session = load();
session.then(() => postMessage({ kind: "ready" }), failed);

onmessage = async ({ data: { pixels, height, width } }) => {
  try {
    const model = await session;
    const images = new ort.Tensor("uint8", pixels, [1, height, width, 3]);
    const began = performance.now();
    const results = await model.run({ images });
    const milliseconds = performance.now() - began;
    const outputs = {};
    for (const [name, { dims, data }] of Object.entries(results)) {
      outputs[name] = { dims: [...dims], data };
    }
    postMessage({ kind: "done", outputs, milliseconds });
  } catch (error) {
    failed(error);
  }
};

async function load() {
  const response = await fetch(new URL("./model.onnx", import.meta.url));
  if (!response.ok) throw new Error(`model.onnx: the server answers ${response.status}`);
  // Of a compressed answer this is less than what arrives; where it is missing, nothing is known.
  const total = Number(response.headers.get("Content-Length"));
  const parts = [];
  let loaded = 0;
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    loaded += value.length;
    if (total) postMessage({ kind: "loading", share: Math.min(loaded / total, 1) });
  }
  const bytes = new Uint8Array(await new Blob(parts).arrayBuffer());
  return ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
}

function failed(error) {
  postMessage({ kind: "failed", message: String(error?.message ?? error) });
}
