"""The targets of fuzzing work, and their seeds, cut off and altered, find nothing."""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from l2g_jax.errors import InputError
from tests.fuzz import targets
from tests.fuzz.targets import TARGETS

needs_h5py = pytest.mark.skipif(importlib.util.find_spec("h5py") is None, reason="no h5py")


@pytest.mark.parametrize(
  "name", [pytest.param(name, marks=needs_h5py if name == "hdf5" else ()) for name in TARGETS]
)
def test_seeds_of_every_target_find_nothing(tmp_path, name):
  target = TARGETS[name]
  rng = np.random.default_rng(0)
  for seed in target.seeds():
    altered = bytearray(seed)
    for place in rng.integers(0, len(seed), 3):
      altered[place] = rng.integers(0, 256)
    for content in (seed, seed[: len(seed) // 2], bytes(altered)):
      targets.call(target, content, tmp_path)


@pytest.mark.fast
def test_a_fault_is_not_passed_over(tmp_path):
  def call(fault):
    def run(path):
      raise fault

    targets.call(targets.Target(".x", run, list), b"", tmp_path)

  call(InputError("a sentence"))
  with pytest.raises(KeyError):
    call(KeyError("a traceback"))
  hidden = InputError("a sentence")
  hidden.__cause__ = MemoryError()
  with pytest.raises(AssertionError, match="too much memory"):
    call(hidden)


def test_the_command_fuzzes(tmp_path):
  pytest.importorskip("atheris")
  result = subprocess.run(
    [sys.executable, "-m", "tests.fuzz", "--minutes=0.02", "--targets=npy", f"--output={tmp_path}"],
    capture_output=True,
    text=True,
    check=False,
  )
  assert result.returncode == 0, result.stdout + result.stderr
  assert result.stdout.startswith("npy: ")
  assert result.stdout.endswith("findings: none\n")
  assert list((tmp_path / "npy" / "corpus").iterdir())
