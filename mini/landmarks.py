"""Landmarks of eight kinds, composed at random from the elements of a site."""

from collections.abc import Callable, Mapping

import numpy as np

from mini.facades import Style
from mini.render import Surface
from mini.site import Site


def make_landmark(rng: np.random.Generator, style: Style) -> list[Surface]:
  """Builds a landmark of a random kind around the origin; its front faces along z."""
  site = Site(rng, style)
  kinds = tuple(_KINDS)
  _KINDS[kinds[int(rng.integers(len(kinds)))]](site)
  return site.surfaces


def _build_hall(site: Site) -> None:
  """A block under a saddle or a flat roof."""
  rng = site.rng
  width, height, depth = rng.uniform(11, 18), rng.uniform(8, 13), rng.uniform(8, 12)
  saddle = bool(rng.random() < 0.6)
  site.block((0, 0), (width, height, depth), door=True, flat=not saddle)
  if saddle:
    site.saddle((0, 0), (width, rng.uniform(3, 5), depth), base=height)


def _build_church(site: Site) -> None:
  """A nave under a saddle roof, with a tower and its spire beside the front."""
  rng = site.rng
  width, height, depth = rng.uniform(9, 12), rng.uniform(8, 11), rng.uniform(12, 16)
  site.block((0, 0), (width, height, depth), door=True, flat=False)
  site.saddle((0, 0), (width, rng.uniform(4, 6), depth), base=height)
  side = float(rng.choice([-1, 1]))
  wide, tall = rng.uniform(4, 5.5), height * rng.uniform(1.4, 1.9)
  center = (side * (width / 2 + wide / 2 - 0.4), depth / 2 - wide / 2 + 0.4)
  site.block(center, (wide, tall, wide), flat=False)
  site.ring(center, 4, (wide / np.sqrt(2) * 1.06, 0.05), tall, rng.uniform(5, 9))


def _build_twins(site: Site) -> None:
  """A front between two towers."""
  rng = site.rng
  width, height, depth = rng.uniform(7, 11), rng.uniform(9, 12), rng.uniform(7, 10)
  site.block((0, 0), (width, height, depth), door=True, flat=False)
  site.saddle((0, 0), (width, rng.uniform(3, 5), depth), base=height)
  wide, tall = rng.uniform(3.5, 5), height * rng.uniform(1.25, 1.6)
  rise = rng.uniform(2, 7)
  for side in (-1.0, 1.0):
    center = (side * (width / 2 + wide / 2 - 0.3), depth / 2 - wide / 2 + 0.5)
    site.block(center, (wide, tall, wide), flat=False)
    site.ring(center, 4, (wide / np.sqrt(2) * 1.06, 0.05), tall, rise)


def _build_rotunda(site: Site) -> None:
  """A drum under a dome, with a porch of columns."""
  rng = site.rng
  radius, height = rng.uniform(5, 7), rng.uniform(7, 10)
  site.drum((0, 0), int(rng.integers(8, 13)), radius, 0.0, height)
  site.dome((0, 0), radius * 1.02, height, radius * rng.uniform(0.7, 1.1))
  width, tall = radius * rng.uniform(1.0, 1.4), height * 0.6
  front = radius + 1.4
  for x in np.linspace(-width / 2, width / 2, int(rng.integers(4, 6))):
    site.column(float(x), front, 0.4, 0.0, tall)
  site.saddle((0, front - 1.6), (width + 1.4, rng.uniform(1.6, 2.6), 4.0), base=tall)


def _build_gate(site: Site) -> None:
  """Two blocks and a span over the way between them."""
  rng = site.rng
  way, wide, depth = rng.uniform(3.5, 5), rng.uniform(3.5, 6), rng.uniform(4, 7)
  height, span = rng.uniform(7, 11), rng.uniform(2.5, 4)
  for side in (-1.0, 1.0):
    center = (side * (way / 2 + wide / 2), 0.0)
    site.block(center, (wide, height, depth), flat=False)
    site.ring(center, 4, (max(wide, depth) / np.sqrt(2), 0.3), height, rng.uniform(2, 5))
  site.block((0, 0), (way + 0.1, span, depth - 0.8), base=height - span)
  under = np.array([-way / 2, height - span, depth / 2 - 0.4])
  site.add(
    site.cover(way, depth), under, np.array([way, 0.0, 0.0]), np.array([0.0, 0.0, 0.8 - depth])
  )


def _build_temple(site: Site) -> None:
  """Columns before a cella, on steps, under a gable."""
  rng = site.rng
  width, tall, depth = rng.uniform(10, 16), rng.uniform(6, 9), rng.uniform(8, 12)
  for step in range(2):
    grown = 2.4 - 0.8 * step
    size = (width + grown, 0.4, depth + 3 + grown)
    site.block((0, 1), size, base=0.4 * step, rich=False)
  site.block((0, 0), (width - 1.5, tall, depth), base=0.8, door=True)
  for x in np.linspace(-width / 2 + 0.6, width / 2 - 0.6, int(rng.integers(4, 8))):
    site.column(float(x), depth / 2 + 1.8, 0.5, 0.8, tall)
  site.block((0, 1), (width, 1.2, depth + 2.4), base=0.8 + tall, flat=False)
  site.saddle((0, 1), (width, rng.uniform(2.2, 3.4), depth + 2.4), base=2.0 + tall)


def _build_terraces(site: Site) -> None:
  """Blocks set back one above another."""
  rng = site.rng
  width, depth, base = rng.uniform(13, 18), rng.uniform(10, 13), 0.0
  shift = rng.uniform(-1.5, 1.5)
  for level in range(int(rng.integers(2, 4))):
    height = rng.uniform(4, 7)
    site.block((shift * level, 0), (width, height, depth), base=base, door=level == 0)
    width, depth, base = width * rng.uniform(0.55, 0.75), depth * 0.7, base + height
  if rng.random() < 0.6:
    site.dome((shift * 2, 0), width * 0.4, base, width * 0.4)


def _build_wings(site: Site) -> None:
  """A court between two wings that come forward, with a tower behind."""
  rng = site.rng
  width, height, depth = rng.uniform(9, 13), rng.uniform(7, 10), rng.uniform(5, 7)
  site.block((0, -2), (width, height, depth), door=True)
  reach, wide = rng.uniform(4, 7), rng.uniform(4, 6)
  low = height * rng.uniform(0.6, 0.95)
  for side in (-1.0, 1.0):
    center = (side * (width / 2 + wide / 2), -2 + reach / 2)
    site.block(center, (wide, low, depth + reach), flat=False)
    site.saddle(center, (wide, rng.uniform(2, 3.5), depth + reach), base=low)
  if rng.random() < 0.7:
    tall = height + rng.uniform(4, 7)
    site.block((0, -2), (4.2, tall - height, 4.2), base=height, flat=False)
    site.ring((0, -2), 4, (3.1, 0.05), tall, rng.uniform(2, 5))


_KINDS: Mapping[str, Callable[[Site], None]] = {
  "hall": _build_hall,
  "church": _build_church,
  "twins": _build_twins,
  "rotunda": _build_rotunda,
  "gate": _build_gate,
  "temple": _build_temple,
  "terraces": _build_terraces,
  "wings": _build_wings,
}
