"""The folder of development data beside a checkout, where there is one."""

import pathlib

import pytest

_FOLDER = pathlib.Path(__file__).parents[1].parent / "shared"


def shared_path(*parts: str) -> pathlib.Path:
  """Returns a path of the development data, or skips the test where it is absent."""
  path = _FOLDER.joinpath(*parts)
  if not path.exists():
    pytest.skip(f"no development data: {path.name}")
  return path
