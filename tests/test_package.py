import importlib
import inspect
import pathlib
import pkgutil
import subprocess
import sys
import tomllib

import pytest

import l2g_jax

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "l2g_jax"
MODULES = sorted(
  module.name for module in pkgutil.walk_packages(l2g_jax.__path__, prefix="l2g_jax.")
)


def public_members(module):
  """The functions and classes that a module defines under a public name."""
  for name, value in vars(module).items():
    defined_here = getattr(value, "__module__", None) == module.__name__
    if not name.startswith("_") and defined_here and (inspect.isclass(value) or callable(value)):
      yield name, value


def has_docstring(member):
  """Whether it has one of its own: a dataclass without one shows its signature."""
  doc = member.__doc__
  return bool(doc) and not (inspect.isclass(member) and doc.startswith(f"{member.__name__}("))


def test_the_version_is_a_release():
  assert l2g_jax.__version__ == importlib.import_module("l2g_jax.version").__version__
  assert all(part.isdigit() for part in l2g_jax.__version__.split("."))
  assert l2g_jax.__version__.count(".") == 2


def test_the_marker_of_types_is_shipped():
  settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
  assert "py.typed" in settings["package-data"]["l2g_jax"]
  assert (PACKAGE / "py.typed").is_file()


def test_every_folder_of_modules_is_a_package():
  # Packaging passes over folders without one.
  folders = {path.parent for path in PACKAGE.rglob("*.py")}
  assert [folder for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []


@pytest.mark.parametrize("name", ["l2g_jax", *MODULES])
def test_every_public_name_exists_and_is_documented(name):
  module = importlib.import_module(name)
  assert module.__doc__
  exported = getattr(module, "__all__", [])
  assert len(set(exported)) == len(exported)
  for member in exported:
    assert hasattr(module, member)
  bare = [member for member, value in public_members(module) if not has_docstring(value)]
  assert bare == []


def test_methods_of_public_classes_are_documented():
  bare = []
  for name in MODULES:
    for member, value in public_members(importlib.import_module(name)):
      # A protocol's members are described with it.
      if not inspect.isclass(value) or getattr(value, "_is_protocol", False):
        continue
      for method, function in vars(value).items():
        if inspect.isfunction(function) and not method.startswith("_") and not function.__doc__:
          bare.append(f"{name}.{member}.{method}")
  assert bare == []


@pytest.mark.parametrize("name", ["l2g_jax", "l2g_jax.data", "l2g_jax.features", "l2g_jax.cann"])
def test_host_rooms_do_not_load_jax(name):
  program = f"import sys, {name}; print(*sys.modules)"
  run = subprocess.run(
    [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True
  )
  assert name in run.stdout.split()
  assert "jax" not in run.stdout.split()
