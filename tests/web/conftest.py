"""One application over a folder of small pictures, for all tests of the interface."""

import time

import cv2
import numpy as np
import pytest
from fastapi.testclient import TestClient

from l2g_jax.features.sift import sift
from l2g_jax.retriever.options import Features
from l2g_jax.web.app import create_app
from l2g_jax.web.keeper import Collection, Keeper
from l2g_jax.web.limits import Limits

BASE = "http://127.0.0.1:8750"
NAMES = ("plain", "=1+2", "<script>alert(1)</script>", 'quote"s', "two\nlines", "b\udcffyte")


def texture(seed, shape=(120, 160)):
  """Returns a picture that SIFT finds much in."""
  rng = np.random.default_rng(seed)
  height, width = shape
  coarse = cv2.resize(rng.integers(0, 256, (9, 12, 3), np.uint8), (width, height))
  fine = cv2.resize(rng.integers(0, 256, (40, 53, 3), np.uint8), (width, height))
  return cv2.addWeighted(coarse, 0.4, fine, 0.6, 0.0)


def png(pixels):
  """Returns a picture as the bytes of a file."""
  return cv2.imencode(".png", pixels)[1].tobytes()


def write(path, pixels):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(png(pixels))
  return path


def wait_for(holds, seconds=300.0):
  """Waits until something holds; returns whether it did in time."""
  end = time.monotonic() + seconds
  while not holds():
    if time.monotonic() > end:
      return False
    time.sleep(0.02)
  return True


def collection_of(images, work):
  options = {"features": Features(local=sift(max_side=200)), "num_candidates": 20}
  return Collection(images, work, options)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
  """Writes pictures, a part of one, and what is none; two files lie beside the folder."""
  root = tmp_path_factory.mktemp("web")
  images = root / "pictures"
  for seed, name in enumerate(NAMES):
    write(images / f"{name}.png", texture(seed))
  for seed in range(6, 10):
    write(images / "below" / f"{seed}.png", texture(seed))
  write(images / "part.png", texture(0)[20:100, 30:140])
  write(images / "blank.png", np.full((40, 40, 3), 200, np.uint8))
  (images / "torn.png").write_bytes(png(texture(30))[:3000])
  (images / "notes.txt").write_text("no picture")
  write(root / "secret.png", texture(40))
  (images / "linked.png").symlink_to(root / "secret.png")
  return images


@pytest.fixture(scope="session")
def keeper(folder):
  return Keeper(collection_of(folder, folder.parent / "work"), poll_seconds=0.1)


@pytest.fixture(scope="session")
def client(keeper):
  """A browser on this machine, once all pictures can be searched for."""
  limits = Limits(upload_bytes=200_000, pixels=500_000)
  with TestClient(create_app(keeper, limits=limits), base_url=BASE) as opened:
    assert wait_for(lambda: keeper.status().num_images == 13)
    yield opened
    assert keeper.stop(60.0)


@pytest.fixture
def ids(client):
  """The identifiers of the pictures, by name."""
  return {image["name"]: image["id"] for image in client.get("/api/images").json()["images"]}
