// The scales of keras_dense.plot, in the same numbers.

// Nine even steps of matplotlib's "magma" map (CC0, Nathaniel Smith and Stefan van der Walt).
const MAGMA = [
  [0, 0, 4],
  [29, 17, 71],
  [81, 18, 124],
  [131, 38, 129],
  [183, 55, 121],
  [231, 82, 99],
  [252, 137, 97],
  [254, 196, 136],
  [252, 253, 191],
];

/** Shares from 0 to 1 as colors from black to light yellow. */
export function magma(share) {
  const place = Math.min(Math.max(share, 0), 1) * (MAGMA.length - 1);
  const step = Math.min(Math.floor(place), MAGMA.length - 2);
  return MAGMA[step].map((low, c) =>
    Math.floor(low + (MAGMA[step + 1][c] - low) * (place - step) + 0.5),
  );
}

/** CSS of a bar from share 1, left, to share 0, or the other way round. */
export function magmaBar(brightFirst) {
  const colors = MAGMA.map((color) => `rgb(${color})`);
  return `linear-gradient(to right, ${(brightFirst ? colors.reverse() : colors).join(", ")})`;
}

/** Color of unknown pixels: gray with diagonal stripes. */
export function hatch(x, y) {
  const gray = (x + y) % 8 < 3 ? 120 : 165;
  return [gray, gray, gray];
}

/** The value below which `percent` of the sorted ones lie, interpolated as NumPy does. */
export function percentile(sorted, percent) {
  const place = ((sorted.length - 1) * percent) / 100;
  const [low, high] = [sorted[Math.floor(place)], sorted[Math.ceil(place)]];
  return low + (high - low) * (place - Math.floor(place));
}

/** Meters shown brightest and darkest, or null if no pixel is known. */
export function depthLimits(meters) {
  const known = meters.filter((m) => Number.isFinite(m) && m > 0).sort();
  return known.length ? [percentile(known, 2), percentile(known, 98)] : null;
}

/** Near is bright, far is dark; equal steps of color are equal ratios of distance. */
export function depthColor(meters, [low, high]) {
  const clipped = Math.min(Math.max(meters, low), high);
  return magma(Math.log(high / clipped) / Math.max(Math.log(high / low), 1e-12));
}

/** Red to the right, green up, blue towards the camera; null for a vector too short to be one. */
export function normalColor(x, y, z) {
  const length = Math.hypot(x, y, z);
  if (!(length >= 0.5)) return null;
  return [x, -y, -z].map((v) => Math.floor(127.5 + (127.5 * v) / length + 0.5));
}
