"""A data set in the revisited layout, small enough to run whole commands on."""

import json
import os
import pathlib
import subprocess
import sys

import cv2
import numpy as np
import pytest

from l2g_jax.cli.command import Command

ROOT = pathlib.Path(__file__).parents[2]
BOX = (20, 10, 300, 220)
# All processes of a run of the tests share what they compile.
_SHARED = ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS")


def write_dataset(root: pathlib.Path, name: str = "toy") -> pathlib.Path:
  """Writes 4 textures, each from 4 distances, and 4 queries of them; returns the data root."""
  folder = root / name
  (folder / "jpg").mkdir(parents=True)
  images = []
  for number in range(4):
    texture = _texture(number)
    for step in range(4):
      shift = [[1 - 0.06 * step, 0.02 * step, 8.0 * step], [0.0, 1 - 0.05 * step, 3.0 * step]]
      images.append(f"image-{number}-{step}")
      _write(folder, images[-1], cv2.warpAffine(texture, np.array(shift), (320, 240)))
    _write(folder, f"query-{number}", texture)
  gnd = [
    {
      "bbx": list(BOX),
      "easy": [4 * number, 4 * number + 1],
      "hard": [4 * number + 2],
      "junk": [4 * number + 3],
    }
    for number in range(4)
  ]
  content = {"imlist": images, "qimlist": [f"query-{number}" for number in range(4)], "gnd": gnd}
  (folder / f"gnd_{name}.json").write_text(json.dumps(content))
  return root


def environment(home: pathlib.Path, *, as_usual: bool = False) -> dict[str, str]:
  """Returns the environment of a user who has little but this checkout.

  Args:
    home: the folder of the user.
    as_usual: whether programs are compiled to run fast, which takes longer than they run here.
  """
  names = _SHARED if as_usual else (*_SHARED, "XLA_FLAGS")
  shared = {name: value for name, value in os.environ.items() if name in names}
  return {"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(home), "JAX_PLATFORMS": "cpu", **shared}


def run(
  module: str, *flags: str, cwd: pathlib.Path, as_usual: bool = False
) -> subprocess.CompletedProcess[str]:
  """Runs a command of the experiments as a user would."""
  return subprocess.run(
    [sys.executable, "-m", f"experiments.{module}", *flags],
    cwd=cwd,
    env=environment(cwd, as_usual=as_usual),
    capture_output=True,
    text=True,
    timeout=300,
    check=False,
  )


def call(command: Command, **values: object) -> None:
  """Calls a command in this process, with flags by name."""
  parsed, words = command.parse([f"--{name}={value}" for name, value in values.items()])
  command.main(parsed, *words)


def refused(command: Command, *flags: object) -> str:
  """Runs a command in this process; returns the sentence with which it ends."""
  with pytest.raises(SystemExit, match=r"^Error: ") as end:
    command.run(arguments=[str(flag) for flag in flags])
  return str(end.value)


def check_refused(result: subprocess.CompletedProcess[str], message: str) -> None:
  """Checks that a command ended with one sentence and exit status 1."""
  assert result.returncode == 1
  assert message in result.stderr
  assert result.stderr.strip().splitlines()[-1].startswith("Error: ")
  assert "Traceback" not in result.stderr


def _texture(seed: int) -> np.ndarray:
  rng = np.random.default_rng(seed)
  coarse = cv2.resize(rng.integers(0, 256, (15, 20, 3), np.uint8), (320, 240))
  fine = cv2.resize(rng.integers(0, 256, (60, 80, 3), np.uint8), (320, 240))
  return cv2.addWeighted(coarse, 0.5, fine, 0.5, 0.0)


def _write(folder: pathlib.Path, name: str, image: np.ndarray) -> None:
  assert cv2.imwrite(str(folder / "jpg" / f"{name}.jpg"), image)
