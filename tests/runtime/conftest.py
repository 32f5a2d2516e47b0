import pytest

from tests.runtime.bundles import save


@pytest.fixture
def bundle(tmp_path):
  save(tmp_path / "bundle", 0)
  return tmp_path / "bundle"
