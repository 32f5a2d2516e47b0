"""Photographs made of others, as people have them: crops, turns, mirrors, collages, screenshots.

Everything follows from the files of a folder and a seed. The truth is a JSON file beside the
pictures: what each was made of, and how.
"""

import dataclasses
import json
import pathlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
from PIL import Image, ImageDraw

from l2g_jax.data.images import list_images, read_image
from l2g_jax.errors import InputError
from l2g_jax.runtime import files

Kind = Literal["crop", "jpeg", "turn", "mirror", "inset", "screenshot"]
KINDS: tuple[Kind, ...] = get_args(Kind)

TRUTH = "truth.json"
PICTURES = "jpg"

# Of the area; the sides of a crop may be in a ratio that is up to this factor another.
_CROP_AREAS = (0.1, 0.5)
_CROP_RATIO = 1.3
_COLLAGE = (1200, 900)
_LEAST_INSETS, _MOST_INSETS = 3, 6
_SCREEN_MARGIN = 0.04
_SOURCE_STEP, _INSET_STEP = 37, 31
_LOW_QUALITY, _QUALITY = 20, 90


@dataclasses.dataclass(frozen=True)
class Made:
  """A folder of photographs and of pictures made of them.

  Attributes:
    folder: of all pictures.
    pairs: by kind of change, names of the photograph and of what was made of it.
    sources: of each made picture, the names of the photographs that it shows.
    num_pictures: of all.
  """

  folder: pathlib.Path
  pairs: Mapping[Kind, Sequence[tuple[str, str]]]
  sources: Mapping[str, Sequence[str]]
  num_pictures: int


def make(
  source: pathlib.Path,
  output: pathlib.Path,
  *,
  num_originals: int,
  num_sources: int,
  num_made: int,
  seed: int,
) -> Made:
  """Makes a folder of photographs and of changed ones, or opens it if it was made so.

  Args:
    source: a folder of photographs.
    output: is made; it holds the pictures in `jpg`, and the truth.
    num_originals: photographs that are copied as they are, chosen by the seed, at most all.
    num_sources: of these, from which others are made.
    num_made: pictures to make, the kinds in turn.
    seed: of every choice.

  Raises:
    InputError: the folder holds no photographs, or the output holds something else.
  """
  settings = {
    "originals": num_originals,
    "sources": num_sources,
    "made": num_made,
    "seed": seed,
    "source": str(source.resolve()),
  }
  folder = output / PICTURES
  if (output / TRUTH).exists():
    return _open(output, settings)
  if output.exists() and any(output.iterdir()):
    raise InputError(f"{output} holds other files, or what an interrupted run made; remove it.")
  names, paths = list_images(source)
  rng = np.random.default_rng(seed)
  chosen = rng.permutation(len(names))[:num_originals]
  folder.mkdir(parents=True)
  originals = {}
  for number in np.sort(chosen):
    name = names[number].replace("/", "_")
    originals[name] = folder / f"{name}{paths[number].suffix}"
    shutil.copyfile(paths[number], originals[name])
  sources = [names[number].replace("/", "_") for number in chosen[:num_sources]]
  pairs: dict[str, list[tuple[str, str]]] = {kind: [] for kind in KINDS}
  shown: dict[str, list[str]] = {}
  for number in range(num_made):
    kind = KINDS[number % len(KINDS)]
    count = int(rng.integers(_LEAST_INSETS, _MOST_INSETS + 1)) if kind == "inset" else 1
    # One after the other, and each kind from others: all are used before one is used again.
    first = number // len(KINDS) + number % len(KINDS) * _SOURCE_STEP
    own = [sources[(first + step * _INSET_STEP) % len(sources)] for step in range(count)]
    own = list(dict.fromkeys(own))
    pictures = [Image.fromarray(read_image(originals[name])) for name in own]
    picture, options = _CHANGES[kind](pictures, rng)
    name = f"{kind}-{number:05d}"
    ending = ".png" if kind == "screenshot" else ".jpg"
    picture.save(folder / f"{name}{ending}", **options)
    pairs[kind] += [(first, name) for first in own]
    shown[name] = own
  files.write_json(
    output / TRUTH,
    {
      "settings": settings,
      "pairs": pairs,
      "sources": shown,
      "pictures": len(originals) + num_made,
    },
  )
  return _open(output, settings)


def _open(output: pathlib.Path, settings: Mapping[str, Any]) -> Made:
  truth = json.loads((output / TRUTH).read_text(encoding="utf-8"))
  if truth["settings"] != settings:
    raise InputError(f"{output} was made with other settings; remove it, or name another folder.")
  pairs: dict[Kind, Sequence[tuple[str, str]]] = {
    kind: [(a, b) for a, b in truth["pairs"][kind]] for kind in KINDS
  }
  return Made(output / PICTURES, pairs, truth["sources"], truth["pictures"])


_Changed = tuple[Image.Image, dict[str, Any]]


def crop(pictures: Sequence[Image.Image], rng: np.random.Generator) -> _Changed:
  """Cuts out 10 to 50 % of the area."""
  (picture,) = pictures
  area = rng.uniform(*_CROP_AREAS)
  ratio = _CROP_RATIO ** rng.uniform(-1.0, 1.0)
  shares = np.minimum(np.sqrt(area) * np.array([ratio, 1.0 / ratio]), 1.0)
  width, height = np.round(shares * picture.size).astype(int).tolist()
  left = int(rng.integers(0, picture.width - width + 1))
  top = int(rng.integers(0, picture.height - height + 1))
  return picture.crop((left, top, left + width, top + height)), {"quality": _QUALITY}


def jpeg(pictures: Sequence[Image.Image], _: np.random.Generator) -> _Changed:
  """Saves at quality 20."""
  return pictures[0], {"quality": _LOW_QUALITY}


def turn(pictures: Sequence[Image.Image], rng: np.random.Generator) -> _Changed:
  """Turns by one to three quarters."""
  return pictures[0].rotate(90 * int(rng.integers(1, 4)), expand=True), {"quality": _QUALITY}


def mirror(pictures: Sequence[Image.Image], _: np.random.Generator) -> _Changed:
  """Mirrors left for right."""
  return pictures[0].transpose(Image.Transpose.FLIP_LEFT_RIGHT), {"quality": _QUALITY}


def inset(pictures: Sequence[Image.Image], rng: np.random.Generator) -> _Changed:
  """Puts pictures side by side, whole, on a sheet of one colour."""
  sheet = Image.new("RGB", _COLLAGE, tuple(rng.integers(0, 256, 3).tolist()))
  columns = 2 if len(pictures) <= 4 else 3
  rows = -(-len(pictures) // columns)
  cell = (_COLLAGE[0] // columns, _COLLAGE[1] // rows)
  for number, picture in enumerate(pictures):
    share = rng.uniform(0.8, 0.96)
    reduced = _fitted(picture, share * cell[0], share * cell[1])
    spare = (cell[0] - reduced.width, cell[1] - reduced.height)
    left = number % columns * cell[0] + int(rng.integers(0, spare[0] + 1))
    top = number // columns * cell[1] + int(rng.integers(0, spare[1] + 1))
    sheet.paste(reduced, (left, top))
  return sheet, {"quality": _QUALITY}


def screenshot(pictures: Sequence[Image.Image], rng: np.random.Generator) -> _Changed:
  """Shows a picture in a window, or on the screen of a telephone, with bars and lines of text."""
  size = (1280, 800) if rng.random() < 0.5 else (720, 1280)
  dark = bool(rng.random() < 0.5)
  ground, ink = ((24, 26, 30), (210, 210, 214)) if dark else ((246, 246, 248), (50, 52, 58))
  screen = Image.new("RGB", size, ground)
  draw = ImageDraw.Draw(screen)
  bar = size[1] // 16
  draw.rectangle((0, 0, size[0], bar), fill=tuple(rng.integers(0, 256, 3).tolist()))
  draw.text((bar // 2, bar // 3), f"{rng.integers(0, 24):02d}:{rng.integers(0, 60):02d}", fill=ink)
  for step in range(3):
    left = size[0] - (step + 1) * bar
    draw.ellipse((left, bar // 4, left + bar // 2, 3 * bar // 4), fill=ink)
  bottom = size[1] - 2 * bar
  for step in range(4):
    length = int(rng.integers(size[0] // 8, size[0] // 2))
    top = bottom + step * bar // 2
    draw.rectangle((bar, top + 4, bar + length, top + 9), fill=ink)
  margin = _SCREEN_MARGIN * size[0]
  room = (size[0] - 2 * margin, bottom - bar - 2 * margin)
  reduced = _fitted(pictures[0], rng.uniform(0.7, 1.0) * room[0], room[1])
  left = (size[0] - reduced.width) // 2
  top = bar + (bottom - bar - reduced.height) // 2
  screen.paste(reduced, (left, top))
  return screen, {}


def _fitted(picture: Image.Image, width: float, height: float) -> Image.Image:
  """Returns a picture scaled to fit a room, whole."""
  scale = min(width / picture.width, height / picture.height)
  size = (max(1, round(scale * picture.width)), max(1, round(scale * picture.height)))
  return picture.resize(size, Image.Resampling.LANCZOS)


_CHANGES: Mapping[Kind, Callable[[Sequence[Image.Image], np.random.Generator], _Changed]] = {
  "crop": crop,
  "jpeg": jpeg,
  "turn": turn,
  "mirror": mirror,
  "inset": inset,
  "screenshot": screenshot,
}
