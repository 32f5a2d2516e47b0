import pytest

from experiments.kept import is_kept, keep

SETTINGS = ["name", {"k": 5}, "content"]


def refuse():
  raise ArithmeticError("It is measured.")


def test_a_row_is_measured_once(tmp_path):
  folder = tmp_path / "rows"
  assert not is_kept(folder, SETTINGS)
  assert keep(folder, SETTINGS, lambda: {"map": 50.0}) == {"map": 50.0}
  assert is_kept(folder, SETTINGS)
  assert keep(folder, SETTINGS, refuse) == {"map": 50.0}


def test_other_settings_and_again_measure(tmp_path):
  keep(tmp_path, SETTINGS, lambda: {"map": 50.0})
  with pytest.raises(ArithmeticError):
    keep(tmp_path, [*SETTINGS, 1], refuse)
  with pytest.raises(ArithmeticError):
    keep(tmp_path, SETTINGS, refuse, again=True)
  assert keep(tmp_path, SETTINGS, lambda: {"map": 60.0}, again=True) == {"map": 60.0}
  assert keep(tmp_path, SETTINGS, refuse) == {"map": 60.0}


def test_a_damaged_row_is_measured_anew(tmp_path):
  keep(tmp_path, SETTINGS, lambda: {"map": 50.0})
  (path,) = tmp_path.iterdir()
  path.write_bytes(path.read_bytes()[:-9])
  assert not is_kept(tmp_path, SETTINGS)
  assert keep(tmp_path, SETTINGS, lambda: {"map": 70.0}) == {"map": 70.0}
