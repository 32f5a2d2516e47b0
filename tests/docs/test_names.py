"""What the pages name is there: modules, functions, files and commands with their flags."""

import importlib
import importlib.util
import pathlib
import re
import shlex

import pytest

import l2g_jax

ROOT = pathlib.Path(__file__).parents[2]
# The list of changes also names what was there before.
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
DOTTED = re.compile(r"`(l2g_jax(?:\.\w+)+)")
PATH = re.compile(r"`([\w/.-]+\.(?:py|ipynb|md|txt|cff))`")
COMMAND = re.compile(r"(?:\.venv/bin/)?python -m ([\w.]+)(.*)|l2g ([a-z_]+)(.*)")
FENCED = re.compile(r"^```\w*\n(.*?)^```$", re.M | re.S)
PLACEHOLDER = re.compile(r"\[--.*?\]")


def exists(name):
  """Whether a dotted name is a module, or is reached from one by attributes."""
  parts = name.split(".")
  for count in range(len(parts), 0, -1):
    try:
      value = importlib.import_module(".".join(parts[:count]))
    except ModuleNotFoundError:
      continue
    for attribute in parts[count:]:
      value = getattr(value, attribute, None)
    return value is not None
  return False


def lies_somewhere(path):
  """Whether a path exists as it is, or below the library or the documentation."""
  return any((folder / path).exists() for folder in (ROOT, ROOT / "l2g_jax", ROOT / "docs"))


def commands(page):
  """Yields the commands of a page's code: module or name, and the words behind it."""
  text = page.read_text(encoding="utf-8")
  prose = FENCED.sub("", text)
  for block in [*FENCED.findall(text), *re.findall(r"`([^`\n]+)`", prose)]:
    for line in block.splitlines():
      line = PLACEHOLDER.sub("", line.split("    #")[0].split(";")[0])
      for match in COMMAND.finditer(line):
        module, words, name, more = match.groups()
        yield module or f"l2g_jax.cli.{name}", shlex.split(words or more or "", comments=True)


def test_the_api_lists_the_names_of_the_package():
  overview = (ROOT / "docs" / "api" / "index.md").read_text(encoding="utf-8")
  listed = set(re.findall(r"^\| \[`(\w+)`\]\[", overview, re.M))
  assert listed == {name for name in l2g_jax.__all__ if not name.startswith("_")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_of_a_page_exist(page):
  text = page.read_text(encoding="utf-8")
  assert [name for name in DOTTED.findall(text) if not exists(name)] == []
  paths = [path for path in PATH.findall(text) if not path.endswith("NAME.py")]
  assert [path for path in paths if not lies_somewhere(path)] == []


def test_pages_name_many_commands():
  modules = [module for page in PAGES for module, words in commands(page) if words]
  assert len(modules) > 40
  assert {"experiments.roxf", "l2g_jax.cli.search", "benchmarks.cann"} <= set(modules)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_a_page_are_understood(page):
  for module, words in commands(page):
    program = importlib.util.find_spec(module)
    assert program is not None, module
    if module.startswith(("experiments.", "l2g_jax.cli.")) and words:
      command = importlib.import_module(module).COMMAND
      command.form(words).parse([word for word in words if word != "--help"])
