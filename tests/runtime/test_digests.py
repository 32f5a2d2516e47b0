import pytest

from l2g_jax.runtime import files


def test_checksums_are_those_of_blake2b(tmp_path):
  (tmp_path / "abc").write_bytes(b"abc")
  assert files.checksum_file(tmp_path / "abc") == "cf4ab791c62b8d2b2109c90275287816"
  (tmp_path / "large").write_bytes(bytes(3 << 20))
  (tmp_path / "larger").write_bytes(bytes((3 << 20) + 1))
  assert files.checksum_file(tmp_path / "large") != files.checksum_file(tmp_path / "larger")


def test_checksum_of_json_depends_on_the_value_alone():
  first = files.checksum_json({"a": 1, "b": [1.5, None]})
  assert first == files.checksum_json({"b": [1.5, None], "a": 1})
  assert first != files.checksum_json({"a": 1, "b": [1.5, 0]})
  with pytest.raises(ValueError, match="JSON compliant"):
    files.checksum_json(float("nan"))
