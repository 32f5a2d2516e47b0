import errno

import pytest

from l2g_jax.runtime import files


def test_a_name_that_no_file_can_have_is_none(tmp_path):
  (tmp_path / "a").touch()
  assert files.is_file(tmp_path / "a")
  assert not files.is_file(tmp_path)
  assert not files.is_file(tmp_path / "b")
  assert not files.is_file(tmp_path / ("a" * 300))
  assert not files.is_file(tmp_path / "a\0b")


def test_a_file_that_may_not_be_seen_is_not_called_missing(tmp_path, monkeypatch):
  def refuse(path, **_):
    raise PermissionError(errno.EACCES, "Permission denied", str(path))

  monkeypatch.setattr("pathlib.Path.is_file", refuse)
  with pytest.raises(PermissionError, match="Permission denied"):
    files.is_file(tmp_path / "a")
