import jax
import pytest

from l2g_jax.cli.work_flags import keep_compiled

FOLDER = "jax_compilation_cache_dir"


def setting(name: str) -> object:
  return getattr(jax.config, name)


@pytest.fixture(autouse=True)
def _restored():
  names = (FOLDER, "jax_persistent_cache_min_compile_time_secs")
  before = {name: setting(name) for name in names}
  yield
  for name, value in before.items():
    jax.config.update(name, value)


@pytest.mark.fast
def test_compiled_functions_are_kept_in_the_folder(monkeypatch, tmp_path):
  monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
  keep_compiled(tmp_path)
  assert setting(FOLDER) == str(tmp_path / "compiled")


def test_a_folder_that_the_environment_names_stays(tmp_path):
  before = setting(FOLDER)
  keep_compiled(tmp_path)
  assert setting(FOLDER) == before is not None
