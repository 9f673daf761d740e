"""HTTP server for an ONNX file of `kd.export.onnx`; it needs neither Keras nor keras_dense.

    pip install numpy onnxruntime pillow python-multipart starlette uvicorn
    python examples/serving/server.py model.onnx
    curl --data-binary @street.jpg -H "Content-Type: image/jpeg" http://127.0.0.1:8000/predict

| | |
|---|---|
| `POST /predict` | a JPEG or PNG file, as the body or as the one file of a multipart form |
| `GET /about` | meaning of the outputs, as the export wrote it: classes, colors, units |
| `GET /healthz` | 200 while the server runs |

The answer is JSON (shares of classes, the range of other outputs). With `Accept: image/png` it is
a PNG of one output (`?output=depth`, otherwise the first): labels with their palette, depth in
16 bits, normals as (n + 1) / 2 · 255, colors, and any other map of numbers in gray, from its
smallest (black) to its largest (white). With `Accept: application/x-npy` it is the numbers.

Images become RGB as in `python -m keras_dense predict`: gray, palette and CMYK are converted,
transparency is dropped, and the EXIF orientation is applied. Images with more than 8 bits a channel
are refused, because their scale is unknown. If the network predicts NaN, the answer is 500: labels
of NaN would be class 0.
"""

import argparse
import asyncio
import contextlib
import ctypes
import io
import json
import pathlib
import re
import socket
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
import uvicorn
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument
from PIL import Image, ImageOps
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.auto import AutoHTTPProtocol

# Pillow reads the size of these before it decodes or allocates anything.
FORMATS = ("JPEG", "PNG")
JSON, PNG, NPY = "application/json", "image/png", "application/x-npy"
DRAINED = 64 << 20  # Bytes read of a refused request, so that its sender gets the answer.
CONNECTIONS = 512  # At the same time, of all clients.
HEADERS = 64 << 10  # Bytes.
SHARE = 0.8  # Of the free memory, for predictions.


class Connection(AutoHTTPProtocol):
    """A connection, with limits that uvicorn does not have: the time and the bytes of the headers,
    and the number of connections of one address. All refusals are JSON.
    """

    patience, per_address = 10.0, 64
    counts: Counter = Counter()

    def connection_made(self, transport):
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        self.headers_taken, self.clock, self.refused = 0, None, False
        self.counts[self.address] += 1
        if self.per_address and self.counts[self.address] > self.per_address:
            self.refuse(503, f"{self.per_address} connections of this address are open")
        elif self.counts.total() > CONNECTIONS:
            self.refuse(503, "too many connections are open")
        else:
            self.watch(0)

    def connection_lost(self, error):
        self.counts[self.address] -= 1
        if not self.counts[self.address]:
            del self.counts[self.address]
        self.stop_clock()
        super().connection_lost(error)

    def data_received(self, data):
        if self.refused:
            return
        super().data_received(data)
        if not self.refused:
            self.watch(len(data))

    def watch(self, count):
        """Limit what comes outside of a request that is being answered: headers."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.headers_taken = 0
            self.stop_clock()
            return
        self.headers_taken += count
        if self.headers_taken > HEADERS:
            self.refuse(431, f"headers may have {HEADERS} bytes, these have more")
        elif self.clock is None:
            text = f"no headers arrived within {self.patience:g} seconds"
            self.clock = self.loop.call_later(self.patience, self.refuse, 408, text)

    def stop_clock(self):
        if self.clock is not None:
            self.clock.cancel()
            self.clock = None

    def send_400_response(self, msg):
        self.refuse(400, msg)

    def refuse(self, status, text):
        """Answer and close; what is still sent is dropped, so that the sender reads the answer."""
        self.refused = True
        self.stop_clock()
        if self.transport.is_closing():
            return
        if self.cycle is None:  # Else the client had an answer before.
            answer = JSONResponse({"error": text}, status)
            lines = [f"HTTP/1.1 {status} Refused", "connection: close"]
            lines += [f"{name}: {answer.headers[name]}" for name in answer.headers]
            lines += ["retry-after: 1"] if status == 503 else []
            self.transport.write("\r\n".join([*lines, "", ""]).encode() + answer.body)
            self.transport.write_eof()
        self.loop.call_later(1, self.transport.close)


class Body:
    """The `receive` of a request, with a limit on the bytes that are taken."""

    def __init__(self, receive, limit):
        self.receive = receive
        self.limit = limit
        self.taken = 0
        self.more = True

    async def __call__(self):
        message = await self.receive()
        self.taken += len(message.get("body", b""))
        self.more = message.get("more_body", False)
        if self.taken > self.limit:
            raise too_large(self.limit)
        return message

    async def drain(self, seconds):
        """Read and drop the rest: a client that is still sending would not see its answer."""
        self.limit = self.taken + DRAINED

        async def rest():
            while self.more:
                await self()

        with contextlib.suppress(HTTPException, asyncio.TimeoutError):
            await asyncio.wait_for(rest(), seconds)


def too_large(limit):
    return HTTPException(413, f"a request may have {limit} bytes (--max-bytes), this one has more")


class Service:
    """A network from a file, which answers requests."""

    def __init__(self, args):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = args.threads
        # Images come in all sizes: memory kept for the next one would only grow.
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
        self.session = session(args.model, options)
        self.about = about(self.session, args.model)
        self.outputs = self.about["outputs"]
        self.size = self.about["inputs"]["images"]["shape"][1:3]
        self.max_bytes = args.max_bytes
        self.max_pixels = args.max_pixels or self.fitting(args.workers)
        self.patience = args.patience
        self.limit = args.workers + args.queue
        self.inside = 0
        self.turn = asyncio.Semaphore(args.workers)
        self.pool = ThreadPoolExecutor(args.workers)

    def fitting(self, workers, most=4 << 20):
        """The number of pixels for which the free memory is enough in all workers."""
        free = free_memory()
        if free is None or None not in self.size:
            return most
        pixels = [np.zeros((1, side, side, 3), "uint8") for side in (256, 512)]
        self.session.run(None, {"images": pixels[0]})
        used = [peak(lambda x=x: self.session.run(None, {"images": x})) for x in pixels]
        each = max(1, used[1] - used[0]) / (512**2 - 256**2)
        return int(min(most, max(256**2, SHARE * free / workers / each)))

    async def predict(self, request):
        body = Body(request.receive, self.max_bytes)
        try:
            return await self.admitted(Request(request.scope, body))
        except HTTPException as error:
            # A client that asks first (Expect: 100-continue) has not sent anything yet.
            asks = "expect" in request.headers and not body.taken
            if error.status_code != 408 and not asks:
                await body.drain(self.patience)
            raise
        except ClientDisconnect:
            return Response(status_code=400)  # The client is gone.

    async def admitted(self, request):
        """Answer a request unless too many are being read or answered."""
        if self.inside >= self.limit:
            raise HTTPException(503, "too many requests are waiting", {"Retry-After": "1"})
        self.inside += 1
        try:
            media, name = media_type(request), self.output(request)
            data = await self.read(request)
            async with self.turn:
                if await request.is_disconnected():
                    raise ClientDisconnect
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self.pool, self.answer, data, media, name)
        finally:
            self.inside -= 1

    def output(self, request):
        name = request.query_params.get("output", next(iter(self.outputs)))
        if name not in self.outputs:
            raise HTTPException(400, f"`output` must be one of {[*self.outputs]}, not {name!r}")
        return name

    async def read(self, request):
        """The file in a request."""
        try:
            return await asyncio.wait_for(self.file(request), self.patience)
        except TimeoutError:
            text = f"the request did not arrive within {self.patience:g} seconds"
            raise HTTPException(408, text) from None

    async def file(self, request):
        if int(request.headers.get("content-length", 0)) > self.max_bytes:
            raise too_large(self.max_bytes)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "multipart/form-data":
            async with request.form(max_files=1, max_fields=8) as form:
                files = [value for value in form.values() if hasattr(value, "read")]
                if not files:
                    raise HTTPException(400, "the form holds no file")
                data = await files[0].read()
        elif kind.startswith("image/") or kind in ("", "application/octet-stream"):
            data = await request.body()
        else:
            text = f"send an image (Content-Type: image/jpeg, …) or a multipart form, not {kind}"
            raise HTTPException(415, text)
        if not data:
            raise HTTPException(400, "there is no image in the request")
        return data

    def answer(self, data, media, name):
        """Response for a file; runs in a thread of the pool."""
        began = time.perf_counter()
        pixels = decoded(data, self.max_pixels)
        if any(n is not None and n != m for n, m in zip(self.size, pixels.shape, strict=False)):
            size = "×".join(str(n or "any") for n in self.size)
            text = f"this network takes images of {size} (height×width), not "
            raise HTTPException(422, text + "×".join(map(str, pixels.shape[:2])))
        read = time.perf_counter()
        names = [*self.outputs] if media == JSON else [name]
        # Labels of NaN look like others; their confidence does not.
        sure = name.removesuffix("labels") + "confidence"
        asked = [*names, sure] if sure in self.outputs and sure not in names else names
        try:
            found = self.session.run(asked, {"images": pixels[None]})
        except InvalidArgument as error:  # Smaller than what the network pads or pools.
            size = "×".join(map(str, pixels.shape[:2]))
            raise HTTPException(422, f"this network cannot take {size} pixels") from error
        for output, y in zip(asked, found, strict=True):
            lost = 1 - np.isfinite(y).mean()
            if lost > 0:
                text = f"the network predicts no numbers: {100 * lost:.3g} % of {output!r}"
                raise HTTPException(500, text)
        results = {name: y[0] for name, y in zip(names, found, strict=False)}
        taken = {"reading": read - began, "predicting": time.perf_counter() - read}
        taken = {name: round(1000 * seconds, 2) for name, seconds in taken.items()}
        headers = {"Server-Timing": ", ".join(f"{name};dur={ms}" for name, ms in taken.items())}
        if media == JSON:
            outputs = {name: summary(y, self.outputs[name]) for name, y in results.items()}
            size = {"height": pixels.shape[0], "width": pixels.shape[1]}
            answer = {"model": self.about["model"], **size, "milliseconds": taken}
            return JSONResponse({**answer, "outputs": outputs}, headers=headers)
        file = io.BytesIO()
        if media == NPY:
            np.save(file, results[name])
        else:
            drawing(name, results[name], self.outputs[name]).save(file, format="PNG")
        return Response(file.getvalue(), media_type=media, headers=headers)


def session(path, options):
    """The network of a file."""
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    # ONNX Runtime has a class of errors for each way in which a file can be bad.
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        sys.exit(f"{path} cannot be read as an ONNX file ({reason})")


def about(session, path):
    """Metadata of a file: its inputs and outputs."""
    text = session.get_modelmeta().custom_metadata_map.get("about", "{}")
    try:
        found = json.loads(text)
        shape, _ = found["inputs"]["images"]["shape"], next(iter(found["outputs"]))
        channels, names = shape[3], {x.name for x in session.get_inputs()}
        known = names == {"images"} and "model" in found
        known = known and {*found["outputs"]} <= {x.name for x in session.get_outputs()}
    except (KeyError, IndexError, StopIteration, TypeError, ValueError):
        known = False
    if not known:
        sys.exit(f"{path} has no description of its outputs; was it written by kd.export.onnx?")
    if channels != 3:
        sys.exit(f"{path} takes images of {channels} channels; this server sends RGB")
    return found


def free_memory():
    """Bytes that the system and its control group leave; `None` if that is unknown."""
    try:
        said = pathlib.Path("/proc/meminfo").read_text()
        rooms = [1024 * int(re.search(r"MemAvailable:\s+(\d+)", said)[1])]
    except (OSError, TypeError):
        return None
    for names in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        with contextlib.suppress(OSError, ValueError):
            limit, used = (int(pathlib.Path("/sys/fs/cgroup", x).read_text()) for x in names)
            rooms.append(limit - used)
    return max(0, min(rooms))


def peak(work):
    """Bytes that a function takes at most."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)  # Memory that was used before would not count.
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # Forget the peak so far.

    def memory(key):
        said = pathlib.Path("/proc/self/status").read_text()
        return 1024 * int(re.search(rf"{key}:\s+(\d+)", said)[1])

    before = memory("VmRSS")
    work()
    return memory("VmHWM") - before


def media_type(request):
    """The kind of answer that the client prefers among those we can give."""
    liked = []
    for part in request.headers.get("accept", "*/*").split(","):
        kind, *parameters = (word.strip().lower() for word in part.split(";"))
        quality = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        with contextlib.suppress(ValueError):
            liked.append((-float(quality), len(liked), kind))
    for quality, _, kind in sorted(liked):
        for ours in (JSON, PNG, NPY):
            if quality < 0 and kind in (ours, ours.partition("/")[0] + "/*", "*/*"):
                return ours
    raise HTTPException(406, f"`Accept` must allow one of {JSON}, {PNG}, {NPY}")


def decoded(data, max_pixels):
    """A file as RGB, uint8 `(H, W, 3)`, upright; see `keras_dense.datasets.files.read_image`."""
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        if image.width * image.height > max_pixels:  # According to the header.
            raise Image.DecompressionBombError
        # Pillow drops half of 16 bits in several channels; byte 24 of a PNG is the number of bits.
        if image.mode.startswith(("I", "F")) or (image.format == "PNG" and data[24] > 8):
            raise HTTPException(415, "the image has more than 8 bits a channel")
        if image.format == "PNG" and image.n_frames > 1:
            raise HTTPException(415, f"the image has {image.n_frames} frames")
        image.load()
        return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except Image.DecompressionBombError:
        text = f"an image may have {max_pixels} pixels (--max-pixels), this one has more"
        raise HTTPException(413, text) from None
    except Image.UnidentifiedImageError:
        raise HTTPException(415, f"this is no {' or '.join(FORMATS)} file") from None
    except HTTPException:
        raise
    # The errors of Pillow for broken files depend on the format and the place.
    except Exception as error:
        raise HTTPException(400, f"the image cannot be read ({error})") from error


def summary(y, facts):
    """An output in a few numbers."""
    if "classes" not in facts:
        numbers = {"min": y.min(), "mean": y.mean(), "max": y.max()}
        return {**facts, **{name: round(float(x), 5) for name, x in numbers.items()}}
    if facts["mode"] == "multilabel":
        shares = y.mean((0, 1), dtype="float64")
    else:
        shares = np.bincount(y.ravel(), minlength=len(facts["classes"])) / y.size
    found = sorted(zip(facts["classes"], shares, strict=True), key=lambda pair: -pair[1])
    return {"shares": {name: round(float(share), 5) for name, share in found if share > 0}}


def drawing(name, y, facts):
    """PNG image of an output; of known units, as `python -m keras_dense predict` writes it."""
    if "palette" in facts and y.ndim == 2:
        if len(facts["palette"]) > 256:
            return Image.fromarray(y.astype("uint16"))
        labels = Image.fromarray(y.astype("uint8"))
        labels.putpalette(np.array(facts["palette"], "uint8").tobytes())
        return labels
    if facts.get("unit") == "meter":
        most = facts["range"][1]
        finest = 65535 // most or 65535 / most
        scale = next((usual for usual in (1000, 256) if most * usual <= 65535), finest)
        return Image.fromarray(np.rint(y[..., 0] * scale).clip(1, 65535).astype("uint16"))
    if facts.get("unit") == "unit vector":
        return Image.fromarray(np.rint((y + 1) * 127.5).clip(0, 255).astype("uint8"))
    if facts.get("unit", "").startswith("RGB"):
        return Image.fromarray(y)
    if y.ndim == 3 and "classes" not in facts:
        y = y.mean(-1) if y.shape[-1] > 1 else y[..., 0]
    if y.ndim != 2:
        raise HTTPException(406, f"{name!r} cannot be drawn; ask for its numbers: Accept: {NPY}")
    low, high = facts.get("range", (y.min(), y.max()))
    share = (y.astype("float64") - low) / max(high - low, 1e-12)
    return Image.fromarray(np.rint(255 * share.clip(0, 1)).astype("uint8"))


def application(service):
    async def healthz(_):
        return JSONResponse({"status": "ok", "requests": service.inside})

    async def metadata(_):
        return JSONResponse(service.about)

    async def refusal(_, error):
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)

    async def fault(_, error):
        text = f"the server failed ({type(error).__name__})"
        return JSONResponse({"error": text}, 500)

    @contextlib.asynccontextmanager
    async def lifespan(_):
        yield
        service.pool.shutdown(cancel_futures=True)
        print("stopped", flush=True)

    routes = [
        Route("/predict", service.predict, methods=["POST"]),
        Route("/about", metadata),
        Route("/healthz", healthz),
    ]
    return Starlette(
        routes=routes,
        exception_handlers={HTTPException: refusal, Exception: fault},
        lifespan=lifespan,
    )


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("model", type=pathlib.Path, help="a file of kd.export.onnx")
    add("--host", default="127.0.0.1", help="0.0.0.0 serves other machines as well")
    add("--port", type=int, default=8000, help="0: any free port")
    add("--workers", type=int, default=2, help="predictions at a time")
    add("--queue", type=int, default=32, help="requests that may wait; further ones get 503")
    add("--threads", type=int, default=0, help="of one prediction; 0: one for each core")
    add("--max-bytes", type=int, default=16 << 20, help="of a request")
    add(
        "--max-pixels",
        type=int,
        help="of an image (default: 4 Mi, or as many as the free memory is enough for)",
    )
    add("--connections", type=int, default=64, help="of one address at a time; 0: any number")
    add("--patience", type=float, default=10.0, help="seconds for headers, and for a request")
    args = parser.parse_args(argv)
    if min(args.workers, args.queue + 1) < 1:
        parser.error("--workers must be at least 1, --queue at least 0")
    if not args.model.is_file():
        parser.error(f"there is no file {str(args.model)!r}")
    service = Service(args)
    limits = {"patience": args.patience, "per_address": args.connections}
    config = uvicorn.Config(
        application(service),
        log_level="warning",
        http=type("Limited", (Connection,), limits),
        timeout_graceful_shutdown=30,
    )
    listener = socket.create_server((args.host, args.port))
    # Without it, small answers wait 40 ms for a packet. asyncio sets it for its own sockets.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    host, port = listener.getsockname()[:2]
    print(
        f"{args.model}: {service.about['model']} at http://{host}:{port}, for images of up to "
        f"{service.max_pixels / 1e6:.3g} million pixels",
        flush=True,
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
