// From a file to the pixels for a model.

const MEGABYTES = 100;
const MEGAPIXELS = 120; // more may be more memory than a phone's browser gives a page

/** An <img> of an image file; an Error with the reason for any other. */
export async function opened(file) {
  const name = file.name || "This";
  if (file.size > MEGABYTES * 1e6) {
    throw new Error(
      `${name} has ${Math.round(file.size / 1e6)} MB. Up to ${MEGABYTES} MB can be opened here: ` +
        "please make it smaller first.",
    );
  }
  const image = new Image();
  image.src = URL.createObjectURL(file);
  try {
    await image.decode();
  } catch {
    throw new Error(
      `${name} is not an image that this browser can read. JPEG, PNG and WebP files are.`,
    );
  } finally {
    URL.revokeObjectURL(image.src);
  }
  const pixels = image.naturalWidth * image.naturalHeight;
  if (pixels === 0) throw new Error(`${name} is an image without a size.`);
  if (pixels > MEGAPIXELS * 1e6) {
    throw new Error(
      `${name} has ${Math.round(pixels / 1e6)} megapixels (${sizeOf(image)}). Up to ` +
        `${MEGAPIXELS} can be opened here: please make it smaller first.`,
    );
  }
  return image;
}

export function sizeOf(image) {
  return `${image.naturalWidth ?? image.width} × ${image.naturalHeight ?? image.height}`;
}

/** [width, height] with at most `side` pixels along the longest; never larger than it is. */
export function fitted(image, side) {
  const { naturalWidth: width, naturalHeight: height } = image;
  const scale = Math.min(1, side / Math.max(width, height));
  return [width, height].map((length) => Math.max(1, Math.round(length * scale)));
}

/** Draw the image on a canvas of this size. */
export function drawn(image, canvas, [width, height]) {
  let source = image;
  let [w, h] = [image.naturalWidth, image.naturalHeight];
  // Halved until it is near: one large step would skip pixels, and a network has not learned jagged
  // edges.
  while (w >= 2 * width && h >= 2 * height) {
    [w, h] = [Math.ceil(w / 2), Math.ceil(h / 2)];
    if (w * h > 16e6) continue; // phones have no larger canvas
    const half = document.createElement("canvas");
    [half.width, half.height] = [w, h];
    drawWhole(source, half);
    source = half;
  }
  canvas.width = width;
  canvas.height = height;
  drawWhole(source, canvas);
}

function drawWhole(source, canvas) {
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white"; // under transparent pixels
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(source, 0, 0, canvas.width, canvas.height);
}

/** The pixels of a canvas as RGB, uint8, row by row. */
export function rgbOf(canvas) {
  const { width, height } = canvas;
  const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  const pixels = new Uint8Array(3 * width * height);
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 3; c++) pixels[3 * i + c] = data[4 * i + c];
  }
  return pixels;
}
