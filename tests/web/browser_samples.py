"""A folder of small pictures for tests of the pages: things on grounds, a crop, and a copy."""

import pathlib

import cv2
import numpy as np

_SIZE = (360, 270)
_THING = (150, 120)
# Left and top of the thing in each view, and its scale.
_VIEWS = ((20, 30, 1.0), (180, 120, 0.9), (60, 110, 1.15))
NUM_THINGS = 4


def name(thing: int, view: int) -> str:
  """Returns the name of a picture of the collection."""
  return f"thing-{thing}-{view}"


def place(view: int) -> tuple[float, float, float, float]:
  """Returns where the thing lies in a view: x1, y1, x2, y2 in fractions of the picture."""
  left, top, scale = _VIEWS[view]
  return (
    left / _SIZE[0],
    top / _SIZE[1],
    (left + _THING[0] * scale) / _SIZE[0],
    (top + _THING[1] * scale) / _SIZE[1],
  )


def write(folder: pathlib.Path) -> None:
  """Writes 4 things, each on 3 grounds, a crop of one picture, and a copy of another."""
  folder.mkdir(parents=True)
  for thing in range(NUM_THINGS):
    for view in range(len(_VIEWS)):
      save(folder / f"{name(thing, view)}.jpg", draw(thing, view))
  first = draw(0, 0)
  save(folder / "crop.jpg", first[20:200, 10:250])
  save(folder / "copy.jpg", cv2.resize(draw(1, 1), None, fx=0.8, fy=0.8))


def draw(thing: int, view: int, ground: int | None = None) -> np.ndarray:
  """Draws a thing on a ground that no other picture has."""
  left, top, scale = _VIEWS[view]
  seed = 100 + len(_VIEWS) * thing + view if ground is None else ground
  picture = _texture(seed, _SIZE)
  size = (round(_THING[0] * scale), round(_THING[1] * scale))
  picture[top : top + size[1], left : left + size[0]] = cv2.resize(_texture(thing, _THING), size)
  return picture


def save(path: pathlib.Path, picture: np.ndarray) -> None:
  assert cv2.imwrite(str(path), picture)


def _texture(seed: int, size: tuple[int, int]) -> np.ndarray:
  """Draws rectangles and discs of all sizes, whose corners SIFT finds again."""
  rng = np.random.default_rng(seed)
  picture = np.full((size[1], size[0], 3), rng.integers(40, 200, 3), np.uint8)
  for number in range(90):
    colour = tuple(int(value) for value in rng.integers(0, 256, 3))
    x, y = (int(rng.integers(0, limit)) for limit in size)
    reach = int(rng.integers(3, 26))
    if number % 2:
      cv2.circle(picture, (x, y), reach, colour, -1, cv2.LINE_AA)
    else:
      cv2.rectangle(picture, (x, y), (x + reach, y + reach), colour, -1)
  return picture
