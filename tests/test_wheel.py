"""The library as it is installed: built, put into a clean environment, and used from elsewhere."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile

import pytest

from tests.cli import toy


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
  """Builds the wheel of a copy, so that the checkout stays as it is."""
  root = tmp_path_factory.mktemp("source")
  for name in ("l2g_jax", "experiments", "mini", "tests"):
    shutil.copytree(toy.ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
  for name in ("pyproject.toml", "requirements.txt", "README.md", "LICENSE", "NOTICE"):
    shutil.copy(toy.ROOT / name, root)
  output = tmp_path_factory.mktemp("wheel")
  options = ("--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", output)
  run(sys.executable, "-m", "pip", "wheel", *options, root)
  (built,) = output.glob("*.whl")
  return built


def run(*command, cwd=None, **environment):
  ended = subprocess.run(
    [str(word) for word in command],
    cwd=cwd,
    env={**os.environ, **environment},
    capture_output=True,
    text=True,
    check=False,
  )
  assert ended.returncode == 0, ended.stderr
  return ended.stdout


def test_the_wheel_holds_the_library_alone(wheel):
  names = zipfile.ZipFile(wheel).namelist()
  assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"l2g_jax"}
  assert {"l2g_jax/py.typed", "l2g_jax/__init__.pyi"} <= set(names)
  for room in ("report", "web"):
    folder = toy.ROOT / "l2g_jax" / room / "assets"
    assets = {f"l2g_jax/{room}/assets/{file.name}" for file in folder.iterdir()}
    assert len(assets) > 3
    assert assets <= set(names)
  licences = {name.rpartition("/licenses/")[2] for name in names if "/licenses/" in name}
  assert licences == {"LICENSE", "NOTICE"}


def test_the_installed_command_searches_from_another_folder(wheel, tmp_path):
  environment = tmp_path / "env"
  venv.create(environment, with_pip=False)
  options = ("--quiet", "--no-deps", "--no-index")
  run(sys.executable, "-m", "pip", "--python", environment, "install", *options, wheel)
  photographs = toy.write_dataset(tmp_path / "data") / "toy" / "jpg"
  elsewhere = tmp_path / "elsewhere"
  elsewhere.mkdir()
  # The packages that the library needs are those of this environment; it is not among them.
  needed = {"PYTHONPATH": sysconfig.get_path("purelib"), "JAX_PLATFORMS": "cpu"}
  program = "import l2g_jax; print(l2g_jax.__file__)"
  file = run(environment / "bin" / "python", "-c", program, cwd=elsewhere, **needed)
  assert pathlib.Path(file.strip()).is_relative_to(environment)
  run(
    *(environment / "bin" / "l2g", "search"),
    *(photographs, photographs / "image-1-0.jpg", "--local=sift", "--output=found.json"),
    cwd=elsewhere,
    **needed,
  )
  results = json.loads((elsewhere / "found.json").read_text())["results"]
  assert results[0]["name"] == "image-1-0"
  assert {result["name"] for result in results[:5]} == {
    "query-1",
    *(f"image-1-{step}" for step in range(4)),
  }
