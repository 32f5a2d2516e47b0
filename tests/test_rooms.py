"""The rooms know each other as pyproject.toml says, by import-linter."""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]
LINTER = pathlib.Path(sys.executable).with_name("lint-imports")


def lint(config: pathlib.Path) -> subprocess.CompletedProcess[str]:
  return subprocess.run(
    [LINTER, config, "--no-cache", "--no-logo"],
    cwd=ROOT,
    capture_output=True,
    text=True,
  )


def test_every_contract_between_rooms_is_kept():
  run = lint(ROOT / "pyproject.toml")
  assert run.returncode == 0, run.stdout + run.stderr


def test_an_arrow_up_is_found(tmp_path):
  config = tmp_path / "upside_down.toml"
  config.write_text(
    """
    [tool.importlinter]
    root_packages = ["l2g_jax"]
    [[tool.importlinter.contracts]]
    name = "Upside down"
    type = "layers"
    layers = ["l2g_jax.errors", "l2g_jax.settings"]
    """
  )
  run = lint(config)
  assert run.returncode == 1
  assert "l2g_jax.settings is not allowed to import l2g_jax.errors" in run.stdout
