"""Colors: patterns on surfaces, sun and sky, all independent of the kind of object."""

import colorsys
import dataclasses

import numpy as np

from keras_dense._types import Array

PATTERNS = ("plain", "stripes", "checker", "waves", "bricks", "dots")


@dataclasses.dataclass
class Material:
    """Two colors (linear RGB), and a pattern of them in the frame of the object."""

    pattern: str
    colors: Array
    axes: Array  # (3, 3), rows: directions of the pattern, times 1 / period
    gloss: float
    wobble: Array


def random_material(
    rng: np.random.Generator, scale: float, vivid: float = 0.85, gloss: bool = False
) -> Material:
    """Draw a material with patterns of about `scale` meters and saturation up to `vivid`."""
    hue, saturation, value = rng.random(), rng.uniform(0.05, vivid), rng.uniform(0.3, 0.9)
    first = colorsys.hsv_to_rgb(hue, saturation, value)
    other = (hue + rng.normal(0, 0.15)) % 1
    darker = value * rng.uniform(0.35, 0.8) if value > 0.5 else min(1.0, value * 1.9)
    second = colorsys.hsv_to_rgb(other, saturation * rng.uniform(0.4, 1), darker)
    angle = rng.uniform(0, np.pi)
    axes = np.array(
        [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    )
    return Material(
        pattern=PATTERNS[rng.integers(len(PATTERNS))],
        colors=np.array([first, second]) ** 2.2,
        axes=axes / (scale * rng.uniform(0.5, 1.3)),
        gloss=rng.uniform(0.1, 0.6) if gloss and rng.random() < 0.6 else 0.0,
        wobble=rng.uniform(0, 2 * np.pi, (3, 4)),
    )


def albedo(material: Material, points: Array, footprint: Array) -> Array:
    """Return the colors of points, (N, 3) linear RGB.

    Args:
        material: a `Material`.
        points: (N, 3), in the frame of the object.
        footprint: (N,), size of a pixel on the surface in meters: finer patterns are averaged.
    """
    if material.pattern == "plain":
        p = points @ material.axes.T
        share = 0.12 + 0.06 * np.sin(9 * p[:, 0] + material.wobble[0, 0]) * np.sin(
            8 * p[:, 1] + 9 * p[:, 2] + material.wobble[0, 1]
        )
    else:
        share = _share(material, points @ material.axes.T)
    # Fade to the mean where a period is only a few pixels.
    period = 1 / np.linalg.norm(material.axes[0])
    sharp = np.clip(1.6 - 4 * footprint / period, 0, 1)
    share = 0.4 + (share - 0.4) * sharp
    return material.colors[0] + share[:, None] * (material.colors[1] - material.colors[0])


def _share(material: Material, p: Array) -> Array:
    """Return the share of the second color, 0 to 1, at points in units of periods."""
    kind = material.pattern
    x, y, z = p[:, 0], p[:, 1], p[:, 2]
    if kind == "stripes":
        return _step(np.sin(2 * np.pi * (x + 0.5 * y)))
    if kind == "checker":
        # Shifted off the origin, so that no face of a solid lies on a change of color.
        s = np.sin(np.pi * 2 * (p + (0.13, 0.21, 0.17)))
        return _step(3 * s[:, 0] * s[:, 1] * s[:, 2])
    if kind == "dots":
        q = p * 2 - np.round(p * 2)
        return _step((0.11 - np.einsum("ij,ij->i", q, q)) * 12)
    if kind == "bricks":
        row = np.floor(y * 3 + z * 2)
        across = x * 1.5 + 0.5 * (row % 2)
        mortar = np.minimum(
            np.abs(across - np.round(across)) / 1.5,
            np.abs(y * 3 + z * 2 - np.round(y * 3 + z * 2)) / 3,
        )
        tint = 0.25 * np.sin(12.9898 * row + 78.233 * np.floor(across))
        return np.where(mortar < 0.03, 1.0, 0.3 + tint)
    w = material.wobble
    bend = np.sin(5 * x + w[0, 0]) * np.sin(4 * z + w[0, 1]) + np.sin(6 * y + w[0, 2])
    fine = np.sin(17 * x + w[1, 0] + 2 * bend) * np.sin(15 * z + 13 * y + w[1, 1])
    return 0.5 + 0.3 * np.sin(7 * (x + z) + 1.5 * bend + w[2, 0]) + 0.2 * fine


def _step(s: Array) -> Array:
    """Return a soft step at 0."""
    return np.clip(0.5 + 2.5 * s, 0, 1)


@dataclasses.dataclass
class Light:
    """A sun far away and a sky that is brighter near it.

    Attributes:
        to_sun: (3,) unit vector.
        sun: (3,) linear RGB.
        zenith: (3,) linear RGB.
        horizon: (3,) linear RGB.
        clouds: (2, 4), phases and frequencies.
        cover: float, amount of clouds.
    """

    to_sun: Array
    sun: Array
    zenith: Array
    horizon: Array
    clouds: Array
    cover: float

    @classmethod
    def random(cls, rng: np.random.Generator) -> "Light":
        """Draw a sun at any azimuth, 28 to 65 degrees high; the lower, the warmer."""
        height, azimuth = rng.uniform(0.5, 1.13), rng.uniform(0, 2 * np.pi)
        flat = np.cos(height)
        to_sun = np.array([flat * np.cos(azimuth), -np.sin(height), flat * np.sin(azimuth)])
        warmth = (1.13 - height) / 0.63
        sun = rng.uniform(1.6, 2.1) * np.array([1.0, 0.96 - 0.14 * warmth, 0.88 - 0.32 * warmth])
        hue = rng.uniform(0.55, 0.62)
        zenith = np.array(colorsys.hsv_to_rgb(hue, rng.uniform(0.45, 0.8), 0.75)) ** 2.2
        horizon = np.array(colorsys.hsv_to_rgb(hue - 0.03, rng.uniform(0.1, 0.25), 0.93)) ** 2.2
        horizon = horizon * (1 - warmth * np.array([0, 0.1, 0.25]))
        clouds = np.stack([rng.uniform(0, 2 * np.pi, 4), rng.uniform(0.7, 1.4, 4)])
        return cls(to_sun, sun, zenith, horizon, clouds, rng.uniform(-0.6, 0.7))

    def sky(self, direction: Array) -> Array:
        """Return the colors of the sky in unit directions (N, 3)."""
        up = np.clip(-direction[:, 1], 0, 1)
        share = up[:, None] ** 0.6
        color = self.horizon + share * (self.zenith - self.horizon)
        # Clouds on a level sheet overhead, thinning out towards the horizon.
        x, z = direction[:, 0] / (up + 0.12), direction[:, 2] / (up + 0.12)
        phase, speed = self.clouds
        bend = np.sin(1.7 * speed[0] * x + phase[0]) + np.sin(1.3 * speed[1] * z + phase[1])
        puff = np.sin(2.1 * x + bend + phase[2]) * np.sin(1.6 * z - bend + phase[3])
        puff = puff + 0.35 * np.sin(6 * speed[2] * x + 2 * bend) * np.sin(5 * speed[3] * z)
        white = np.clip(puff + self.cover - 0.15, 0, 0.8) * np.clip(3 * up, 0, 1)
        color = color + white[:, None] * (0.92 - color)
        glow = np.clip(direction @ self.to_sun, 0, 1) ** 24
        return color + 0.5 * glow[:, None] * self.sun

    def shade(
        self,
        color: Array,
        normal: Array,
        view: Array,
        lit: Array,
        open_sky: Array,
        gloss: Array,
    ) -> Array:
        """Light surfaces: sun if `lit`, sky by `open_sky`, a highlight by `gloss`.

        Args:
            color: (N, 3) linear RGB.
            normal: (N, 3) unit vectors.
            view: (N, 3), unit directions of sight.
            lit: (N,), 0 or 1.
            open_sky: (N,), 0 to 1, visible part of the sky.
            gloss: (N,), 0 to 1.
        """
        toward = np.clip(normal @ self.to_sun, 0, 1) * lit
        above = 0.5 - 0.5 * normal[:, 1]
        ambient = 0.2 * self.horizon + 0.45 * above[:, None] * self.zenith + 0.06
        out = color * (toward[:, None] * self.sun * 0.68 + ambient * open_sky[:, None])
        if gloss.any():
            half = self.to_sun - view
            half /= np.linalg.norm(half, axis=1, keepdims=True)
            spot = np.clip(np.einsum("ij,ij->i", normal, half), 0, 1) ** 40
            out += (spot * gloss * lit * (toward > 0))[:, None] * self.sun
        return out


def develop(color: Array) -> Array:
    """Convert linear RGB to sRGB in uint8, with compressed highlights."""
    color = 1.25 * color * (1 + 0.1 * color) / (1 + 0.4 * color)
    return (255 * np.clip(color, 0, 1) ** (1 / 2.2) + 0.5).astype(np.uint8)
