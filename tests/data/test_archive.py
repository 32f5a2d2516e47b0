import tarfile

import pytest

from l2g_jax.data import archive as archives
from l2g_jax.errors import InputError
from tests.data.site import IMAGES, names, pack


@pytest.mark.parametrize("flat", [True, False])
def test_an_archive_is_unpacked_and_described(tmp_path, flat):
  folder = tarfile.TarInfo("./x")
  folder.type = tarfile.DIRTYPE
  archive = tmp_path / "a.tar.gz"
  archive.write_bytes(pack([("", folder), *IMAGES.items()]))
  members = archives.unpack(archive, tmp_path / "jpg", flat=flat)
  expected = {name.rpartition("/")[2] if flat else name: data for name, data in IMAGES.items()}
  assert {name: (tmp_path / "jpg" / name).read_bytes() for name in members} == expected
  assert {name: state["bytes"] for name, state in members.items()} == {
    name: len(data) for name, data in expected.items()
  }
  assert names(tmp_path / "jpg") == sorted(expected)
  assert archives.unpack(archive, tmp_path / "jpg", flat=flat) == members


def test_a_truncated_archive_leaves_nothing_wherever_it_ends(tmp_path):
  content = pack(IMAGES.items())
  archive = tmp_path / "a.tar.gz"
  for size in range(len(content)):
    archive.write_bytes(content[:size])
    with pytest.raises(InputError, match=r"a\.tar\.gz (is truncated or damaged|holds no files)"):
      archives.unpack(archive, tmp_path / "jpg")
    assert names(tmp_path) == ["a.tar.gz"]


def test_a_damaged_archive_is_never_unpacked_into_other_images(tmp_path):
  content = pack(IMAGES.items())
  archive = tmp_path / "a.tar.gz"
  archive.write_bytes(content)
  whole = archives.unpack(archive, tmp_path / "jpg")
  refused = 0
  for place in range(len(content)):
    archive.write_bytes(content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :])
    try:
      assert archives.unpack(archive, tmp_path / f"jpg-{place}") == whole
    except InputError:
      assert not (tmp_path / f"jpg-{place}").exists()
      refused += 1
  # All but the header's date, operating system and hints.
  assert refused >= len(content) - 10


def _special(name, kind, target=""):
  info = tarfile.TarInfo(name)
  info.type, info.linkname = kind, target
  return info


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize(
  ("name", "content", "message"),
  [
    ("{root}/evil.jpg", b"", "leads outside its folder"),
    ("../evil.jpg", b"", "leads outside its folder"),
    ("x/../../evil.jpg", b"", "leads outside its folder"),
    ("a\0b.jpg", _special("a", tarfile.REGTYPE), "leads outside its folder"),
    ("", _special("l.jpg", tarfile.SYMTYPE, "/etc/passwd"), "'l.jpg', a link"),
    ("", _special("l.jpg", tarfile.LNKTYPE, "x/a.jpg"), "'l.jpg', a link"),
    ("", _special("p.jpg", tarfile.FIFOTYPE), "which is no plain file"),
    ("", _special("d.jpg", tarfile.CHRTYPE), "which is no plain file"),
    ("/evil.jpg", b"", "leads outside its folder"),
    ("x/../evil.jpg", b"", "leads outside its folder"),
    ("x/a.jpg", b"another", "it holds '(x/)?a.jpg' twice"),
  ],
)
def test_a_hostile_archive_is_refused_by_name_and_leaves_nothing(
  tmp_path, name, content, message, flat
):
  if isinstance(content, tarfile.TarInfo) and name:
    content.pax_headers = {"path": name}
  folder = tmp_path / "a" / "b" / "c"
  folder.mkdir(parents=True)
  (folder / "a.tar.gz").write_bytes(pack([*IMAGES.items(), (name.format(root=tmp_path), content)]))
  with pytest.raises(InputError, match=rf"a\.tar\.gz is refused: .*{message}"):
    archives.unpack(folder / "a.tar.gz", folder / "jpg", flat=flat)
  assert names(tmp_path) == ["a/b/c/a.tar.gz"]


def test_an_archive_that_inflates_beyond_measure_is_refused(tmp_path):
  archive = tmp_path / "a.tar.gz"
  archive.write_bytes(pack([("a.jpg", bytes(65 << 20))]))
  with pytest.raises(InputError, match=r"refused: it inflates to more than 100 times"):
    archives.unpack(archive, tmp_path / "jpg")
  assert names(tmp_path) == ["a.tar.gz"]


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_an_archive_with_a_file_and_a_folder_of_one_name_is_refused(tmp_path, order):
  archive = tmp_path / "a.tar.gz"
  archive.write_bytes(pack([("x", b"first"), ("x/a.jpg", b"second")][order]))
  with pytest.raises(InputError, match=r"a\.tar\.gz is refused: it holds 'x(/a\.jpg)?'"):
    archives.unpack(archive, tmp_path / "jpg", flat=False)
  assert names(tmp_path) == ["a.tar.gz"]


def test_images_that_are_there_are_not_written_over(tmp_path):
  (tmp_path / "a.tar.gz").write_bytes(pack(IMAGES.items()))
  (tmp_path / "jpg").mkdir()
  (tmp_path / "jpg" / "b.jpg").write_bytes(b"mine")
  with pytest.raises(InputError, match=r"b\.jpg differs from what is published"):
    archives.unpack(tmp_path / "a.tar.gz", tmp_path / "jpg")
  assert (tmp_path / "jpg" / "b.jpg").read_bytes() == b"mine"


def test_folders_and_links_of_ones_own_are_kept(tmp_path):
  archive = tmp_path / "a.tar.gz"
  archive.write_bytes(pack(IMAGES.items()))
  (tmp_path / "a.tar.gz.unpacked").mkdir()
  (tmp_path / "a.tar.gz.unpacked" / "mine.jpg").write_bytes(b"mine")
  (tmp_path / "jpg").mkdir()
  for target in (tmp_path / "nowhere", tmp_path):
    (tmp_path / "jpg" / "b.jpg").symlink_to(target)
    with pytest.raises(InputError, match=r"b\.jpg differs from what is published"):
      archives.unpack(archive, tmp_path / "jpg")
    assert (tmp_path / "jpg" / "b.jpg").is_symlink()
    (tmp_path / "jpg" / "b.jpg").unlink()
  archives.unpack(archive, tmp_path / "jpg")
  assert (tmp_path / "a.tar.gz.unpacked" / "mine.jpg").read_bytes() == b"mine"


def test_what_a_killed_unpacking_left_is_removed_by_the_next(tmp_path):
  archive = tmp_path / "a.tar.gz"
  archive.write_bytes(pack(IMAGES.items()))
  left = tmp_path / ".a.tar.gz.unpacked.l2g" / "a.tar.gz.unpacked"
  left.mkdir(parents=True)
  (left / "b.jpg").write_bytes(b"half")
  members = archives.unpack(archive, tmp_path / "jpg")
  assert names(tmp_path) == ["a.tar.gz", *(f"jpg/{name}" for name in sorted(members))]
