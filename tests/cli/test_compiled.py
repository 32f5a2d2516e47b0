import jax
import pytest

from l2g_jax.cli.work_flags import keep_compiled

SETTINGS = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")


@pytest.fixture(autouse=True)
def _restored():
  before = {name: getattr(jax.config, name) for name in SETTINGS}
  yield
  for name, value in before.items():
    jax.config.update(name, value)


@pytest.mark.fast
def test_compiled_functions_are_kept_in_the_folder(monkeypatch, tmp_path):
  monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
  keep_compiled(tmp_path)
  assert jax.config.jax_compilation_cache_dir == str(tmp_path / "compiled")


def test_a_folder_that_the_environment_names_stays(monkeypatch, tmp_path):
  monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "other"))
  before = jax.config.jax_compilation_cache_dir
  keep_compiled(tmp_path)
  assert jax.config.jax_compilation_cache_dir == before
