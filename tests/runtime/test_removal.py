from l2g_jax.runtime import files
from tests.runtime.bundles import load, names_in, save_values, values_of


def test_what_a_killed_writer_left_is_taken_over(tmp_path):
  (tmp_path / ".b.l2g" / "b").mkdir(parents=True)
  (tmp_path / ".b.l2g" / "lock").touch()
  (tmp_path / ".b.l2g" / "b" / "first.npy").write_bytes(b"half")
  (tmp_path / ".report.json.l2g").mkdir()
  (tmp_path / ".report.json.l2g" / "report.json").write_text("half")
  save_values(tmp_path / "b", 1)
  files.write_json(tmp_path / "report.json", 1)
  assert names_in(tmp_path) == ["b", "report.json"]
  assert values_of(load(tmp_path / "b", verify=True)) == {1}


def test_leftovers_are_removed_but_not_what_is_being_written(tmp_path):
  (tmp_path / ".dead.json.l2g").mkdir()
  (tmp_path / ".dead.json.l2g" / "lock").touch()
  (tmp_path / ".dead.json.l2g" / "dead.json").write_text("half")
  (tmp_path / ".mine.l2g").mkdir()
  (tmp_path / ".mine.l2g" / "photo.jpg").touch()
  with files.atomic_path(tmp_path / "live.json") as temporary:
    temporary.write_text("whole")
    files.remove_leftovers(tmp_path)
    assert names_in(tmp_path) == [".live.json.l2g", ".mine.l2g"]
  assert names_in(tmp_path) == [".mine.l2g", "live.json"]


def test_only_what_is_provably_ours_is_removed(tmp_path):
  root = tmp_path / "root"
  save_values(root / "bundle", 1)
  save_values(root / "replaced", 1)
  save_values(root / "replaced", 2)
  save_values(root / "with-a-photo", 1)
  (root / "with-a-photo" / "photo.jpg").touch()
  save_values(root / "with-a-link", 1)
  (root / "with-a-link" / "third.npy").symlink_to(root / "with-a-link" / "first.npy")
  save_values(tmp_path / "elsewhere", 1)
  (root / "link").symlink_to(tmp_path / "elsewhere")
  (root / "photos").mkdir()
  (root / "photos" / "a.jpg").touch()
  (root / "web").mkdir()
  (root / "web" / "manifest.json").write_text('{"name": "an app of the web"}')
  (root / "web" / "first.npy").touch()
  files.write_manifest(root / "job.json", {"a": 1})
  files.write_json(root / "report.json", {"a": 1})
  (root / "lock").touch()
  (root / "ours").mkdir()
  save_values(root / "ours" / "part", 1)
  assert not files.remove_ours(root)
  left = ["link", "photos", "report.json", "web", "with-a-link", "with-a-photo"]
  assert names_in(root) == left
  assert values_of(load(root / "link")) == {1}
  assert len(names_in(root / "with-a-photo")) == 4
  assert len(names_in(root / "web")) == 2
  assert files.remove_ours(root / "absent")
  assert not files.remove_ours(root / "link")
  assert values_of(load(tmp_path / "elsewhere")) == {1}
