import pytest

from l2g_jax.errors import InputError
from l2g_jax.runtime import files
from tests.runtime.bundles import names_in, save_values


@pytest.mark.fast
def test_manifests_are_read_as_written(tmp_path):
  path, body = tmp_path / "m.json", {"kind": "test", "names": ["é", "b"], "share": 0.1}
  files.write_manifest(path, body)
  assert files.read_manifest(path) == body


@pytest.mark.parametrize("keep", [0, 1, 30, -3])
def test_a_truncated_manifest_is_refused(tmp_path, keep):
  path = tmp_path / "m.json"
  files.write_manifest(path, {"kind": "test", "names": ["a", "b"]})
  path.write_bytes(path.read_bytes()[:keep])
  with pytest.raises(InputError, match=r"m\.json is truncated or not a manifest"):
    files.read_manifest(path)


@pytest.mark.parametrize("content", [b"null", b"[1]", b"{}", b"3", b'"checksum"', b"\xff\xfe"])
def test_other_files_are_no_manifests(tmp_path, content):
  (tmp_path / "m.json").write_bytes(content)
  with pytest.raises(InputError, match="not a manifest"):
    files.read_manifest(tmp_path / "m.json")


def test_an_altered_or_missing_manifest_is_refused(tmp_path):
  path = tmp_path / "m.json"
  with pytest.raises(InputError, match=r"m\.json is missing"):
    files.read_manifest(path)
  files.write_manifest(path, {"names": ["a", "b"]})
  path.write_text(path.read_text().replace('"b"', '"c"'))
  with pytest.raises(InputError, match=r"m\.json was altered"):
    files.read_manifest(path)


@pytest.mark.parametrize("content", ['// an extension\n{"name": "mine"}', "cargo: 3 boxes"])
def test_a_manifest_that_is_no_json_and_not_ours_is_kept(tmp_path, content):
  (tmp_path / "manifest.json").write_text(content)
  with pytest.raises(InputError, match="holds what is no bundle of ours"):
    save_values(tmp_path, 1)
  assert (tmp_path / "manifest.json").read_text() == content
  assert names_in(tmp_path) == ["manifest.json"]
