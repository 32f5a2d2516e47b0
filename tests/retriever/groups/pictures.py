"""Small pictures with many key points, and changed ones, as files of a folder."""

import pathlib

import cv2
import numpy as np
from PIL import Image

from l2g_jax import Retriever
from l2g_jax.features.sift import sift
from l2g_jax.retriever.groups import Groups, Relation

SIZE = (320, 240)


def texture(seed: int) -> Image.Image:
  """Returns the picture of a number."""
  rng = np.random.default_rng(seed)
  coarse = cv2.resize(rng.integers(0, 256, (12, 16, 3), np.uint8), SIZE)
  fine = cv2.resize(rng.integers(0, 256, (48, 64, 3), np.uint8), SIZE)
  grain = rng.integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8)
  mixed = cv2.addWeighted(coarse, 0.5, fine, 0.5, 0.0)
  return Image.fromarray(cv2.addWeighted(mixed, 0.9, grain, 0.1, 0.0))


def write_folder(folder: pathlib.Path) -> pathlib.Path:
  """Writes three pictures, what people make of the first, and files that show nothing."""
  folder.mkdir(parents=True)
  first, second, third = (texture(seed) for seed in range(3))
  first.save(folder / "a.png")
  second.save(folder / "b.png")
  third.save(folder / "c.png")
  (folder / "a-copy.png").write_bytes((folder / "a.png").read_bytes())
  first.save(folder / "a-pixels.bmp")
  first.save(folder / "a-low.jpg", quality=20)
  first.crop((100, 60, 300, 220)).save(folder / "a-crop.jpg", quality=90)
  first.rotate(-90, expand=True).save(folder / "a-turned.jpg", quality=90)
  first.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "a-mirrored.jpg", quality=90)
  sheet = Image.new("RGB", (520, 200), (90, 140, 90))
  for number, picture in enumerate((first, second)):
    sheet.paste(picture.resize((224, 168), Image.Resampling.LANCZOS), (20 + 260 * number, 16))
  sheet.save(folder / "collage.jpg", quality=90)
  matrix = np.float32([[0.8, 0.1, 20], [-0.05, 0.9, 15], [4e-4, 2e-4, 1]])
  seen = cv2.warpPerspective(np.asarray(third), matrix, SIZE, borderValue=(120, 120, 120))
  Image.fromarray(seen).save(folder / "c-from-aside.jpg", quality=90)
  Image.new("RGB", (64, 48), (7, 8, 9)).save(folder / "flat.png")
  (folder / "flat-copy.png").write_bytes((folder / "flat.png").read_bytes())
  for name in ("broken", "broken-copy"):
    (folder / f"{name}.jpg").write_bytes(b"no image")
  return folder


def open_folder(folder: pathlib.Path, work: pathlib.Path) -> Retriever:
  """Makes a folder ready by SIFT."""
  return Retriever.open_or_build(folder, work, features=sift(max_descriptors=300))


def relations(groups: Groups) -> dict[tuple[str, str], Relation]:
  """Returns the relations of all groups by their names."""
  return {(own.first, own.second): own for group in groups for own in group.relations}
