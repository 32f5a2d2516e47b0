import os
import pathlib
import re
import subprocess
import sys

import pytest
import yaml

from l2g_jax.version import __version__

ROOT = pathlib.Path(__file__).parents[2]
README = ROOT / "README.md"
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
  """The site as it is built where every warning is an error."""
  folder = tmp_path_factory.mktemp("site")
  # Not --quiet: it hides warnings from --strict too.
  run = subprocess.run(
    [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
    cwd=ROOT,
    check=False,
    capture_output=True,
    text=True,
    env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
  )
  assert run.returncode == 0, run.stdout + run.stderr
  return folder


def test_every_page_is_built(site):
  sources = {path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")}
  pages = {path.relative_to(site).parent for path in site.rglob("index.html")}
  expected = {path.parent if path.name == "index.md" else path.with_suffix("") for path in sources}
  assert len(sources) > 10
  assert expected == pages


def test_the_site_loads_nothing_from_elsewhere(site):
  loaded = re.compile(r'<(?:script|img|link[^>]*stylesheet)[^>]*(?:src|href)="(?:https?:)?//')
  pages = list(site.rglob("*.html"))
  assert pages
  assert [page.name for page in pages if loaded.search(page.read_text(encoding="utf-8"))] == []


def test_equations_are_mathml(site):
  page = (site / "method" / "index.html").read_text(encoding="utf-8")
  assert page.count('<math display="block"') >= 8
  assert "\\frac" not in page


def test_the_api_shows_docstrings(site):
  page = (site / "api" / "embedding" / "index.html").read_text(encoding="utf-8")
  assert "Minimises the stress of an embedding" in page


def test_the_citation_and_the_list_of_changes_know_the_version():
  citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
  assert citation["version"] == __version__
  assert citation["references"][0]["url"].endswith("2509.04351")
  assert f"## {__version__} (" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_readme_is_short():
  assert len(README.read_text(encoding="utf-8").splitlines()) <= 100


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_of_a_page_beside_the_site_lead_somewhere(name):
  links = LINK.findall((ROOT / name).read_text(encoding="utf-8"))
  local = [link for link in links if not link.startswith("http")]
  assert [link for link in local if not (ROOT / link).exists()] == []
