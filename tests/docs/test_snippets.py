"""The Python blocks of the README and of the pages in docs/ run, each on its own.

A block is left out only after a line `<!-- not run: REASON -->`, and is compiled all the same.
"""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^(?:<!-- not run: (.+) -->\n+)?( *)```python\n(.*?)^\2```$", re.M | re.S)
FENCES = re.compile(r"^ *``` *(?:python|py)\b", re.M)


def blocks():
  """Yields the code of each block, why it is not run, and where it stands."""
  for page in PAGES:
    text = page.read_text(encoding="utf-8")
    for match in BLOCK.finditer(text):
      line = text.count("\n", 0, match.start(3))
      # Empty lines above, so that a traceback names the line of the page.
      code = compile("\n" * line + match[3], page, "exec")
      name = f"{page.relative_to(ROOT)}:{line + 1}"
      marks = [pytest.mark.skip(reason=match[1])] if match[1] else []
      yield pytest.param(code, marks=marks, id=name)


SNIPPETS = list(blocks())


@pytest.mark.parametrize("code", SNIPPETS)
def test_a_snippet_runs(code, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  exec(code, {"__name__": "__main__"})


@pytest.mark.fast
def test_no_block_of_python_is_missed():
  fences = sum(len(FENCES.findall(page.read_text(encoding="utf-8"))) for page in PAGES)
  assert len(SNIPPETS) == fences > 0
