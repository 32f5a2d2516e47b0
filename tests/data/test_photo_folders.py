import os
import pathlib
import socket
import sys
import types

import numpy as np
import pytest
from PIL import Image

from l2g_jax.data import image_formats
from l2g_jax.data.image_formats import endings
from l2g_jax.data.images import read_image
from l2g_jax.data.photo_folders import (
  describe_left_out,
  find_photographs,
  is_contact_sheet,
  mark_work_folder,
)
from l2g_jax.errors import InputError
from l2g_jax.report.contact_sheet import Tile, save_contact_sheet

# Read before the first test may register a plug-in.
_ENDINGS = endings()


def touch(root, *names):
  for name in names:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).touch()


def counts(photographs):
  return {reason: len(paths) for reason, paths in photographs.left_out.items()}


@pytest.fixture
def fresh_endings():
  """Lets plug-ins be looked for again, and forgets them afterwards."""
  caches = (image_formats.endings, image_formats.unread_kinds)
  before = dict(Image.EXTENSION), dict(Image.OPEN)
  for cache in caches:
    cache.cache_clear()
  yield
  Image.EXTENSION.clear()
  Image.EXTENSION.update(before[0])
  Image.OPEN.clear()
  Image.OPEN.update(before[1])
  for cache in caches:
    cache.cache_clear()


def test_a_file_in_place_of_a_folder_is_told_as_such(tmp_path):
  touch(tmp_path, "a.jpg")
  with pytest.raises(InputError, match=r"a\.jpg is not a folder\.$"):
    find_photographs(tmp_path / "a.jpg")
  with pytest.raises(InputError, match=r"There is no folder .*b\.$"):
    find_photographs(tmp_path / "b")


def test_a_folder_too_deep_to_be_entered_is_told_as_such(tmp_path, monkeypatch):
  touch(tmp_path, "a.jpg")
  monkeypatch.chdir(tmp_path)
  # Longer than a path may be.
  for _ in range(20):
    os.mkdir("d" * 250)
    os.chdir("d" * 250)
  photographs = find_photographs(tmp_path)
  assert photographs.names == ("a",)
  assert counts(photographs) == {"folder(s) that can't be read (give yourself permission)": 1}


def test_what_pillow_decodes_itself_is_a_photograph():
  assert {".jpg", ".jpe", ".jfif", ".avif", ".gif", ".apng", ".webp", ".jp2", ".psd"} <= set(
    _ENDINGS
  )
  # These run other programs, or are none.
  assert not {".eps", ".ps", ".pdf", ".wmf", ".emf", ".mpg", ".h5", ".ico", ".txt"} & set(_ENDINGS)


@pytest.mark.parametrize("suffix", ["gif", "jfif", "jpe", "avif", "jp2", "dib", "qoi", "pcx"])
def test_pictures_of_every_ending_are_found_and_read(tmp_path, suffix):
  Image.fromarray(np.full((16, 24, 3), 200, np.uint8)).save(tmp_path / f"a.{suffix}")
  (path,) = find_photographs(tmp_path).paths
  np.testing.assert_allclose(read_image(path), 200, atol=3)


def test_content_decides_where_an_ending_is_wrong(tmp_path):
  Image.fromarray(np.full((16, 24, 3), 200, np.uint8)).save(tmp_path / "a.jpg", format="PNG")
  np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), np.full((16, 24, 3), 200))


@pytest.mark.parametrize(
  "content", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", bytes(99)]
)
def test_no_content_makes_pillow_run_a_program(tmp_path, monkeypatch, content):
  def refuse(*args, **kwargs):
    raise AssertionError("a program was run")

  monkeypatch.setattr("subprocess.Popen", refuse)
  monkeypatch.setattr("os.system", refuse)
  (tmp_path / "a.jpg").write_bytes(content)
  with pytest.raises(InputError, match="not an image that can be read"):
    read_image(tmp_path / "a.jpg")


def test_what_is_left_out_is_counted_by_its_reason(tmp_path):
  touch(tmp_path, "a.jpg", "b.heic", "c.HEIF", "d.cr2", "e.mp4", "f.pdf", "notes.txt")
  touch(tmp_path, "@eaDir/a.jpg", ".thumbnails/b.jpg", "._a.jpg", "Thumbs.db", "x.lrdata/a.jpg")
  os.mkfifo(tmp_path / "pipe.jpg")
  photographs = find_photographs(tmp_path)
  assert photographs.names == ("a",)
  assert describe_left_out(photographs.left_out) == (
    "5 hidden, or thumbnails and trash of other programs"
    "; 2 in the format HEIC (pip install pillow-heif)"
    "; 1 in a camera's raw format (export them as JPEG)"
    "; 1 in a format of documents (export them as PNG)"
    "; 1 in a video format (export single pictures)"
    "; 1 of other kinds"
    "; 1 that are pipes, sockets or devices"
  )


def test_a_folder_without_photographs_says_what_it_has(tmp_path):
  touch(tmp_path, "a.heic")
  with pytest.raises(InputError, match=r"holds no image .* Left out: 1 in the format HEIC \(pip"):
    find_photographs(tmp_path)


@pytest.mark.usefixtures("fresh_endings")
def test_a_plug_in_that_is_installed_is_used(tmp_path, monkeypatch):
  def register():
    Image.register_extensions("PNG", [".heic", ".heif"])

  plug_in = types.SimpleNamespace(register_heif_opener=register)
  monkeypatch.setitem(sys.modules, "pillow_heif", plug_in)
  Image.fromarray(np.full((4, 4, 3), 7, np.uint8)).save(tmp_path / "a.heic", format="PNG")
  photographs = find_photographs(tmp_path)
  assert photographs.names == ("a",)
  assert not photographs.left_out
  assert np.all(read_image(photographs.paths[0]) == 7)


def test_links_are_entered_once(tmp_path):
  root = tmp_path / "root"
  touch(tmp_path, "outside/deep/a.jpg", "root/own/b.jpg")
  (root / "a-link").symlink_to(root / "own")
  (root / "other").symlink_to(tmp_path / "outside")
  (root / "own" / "up").symlink_to(root)
  (tmp_path / "outside" / "deep" / "round").symlink_to(tmp_path / "outside")
  photographs = find_photographs(root)
  # The true path, where there is one.
  assert photographs.names == ("other/deep/a", "own/b")
  assert counts(photographs) == {"link(s) to folders that were searched already": 3}


def test_folders_that_can_not_be_read_are_told(tmp_path, monkeypatch):
  touch(tmp_path, "a.jpg", "locked/b.jpg")
  scan = os.scandir

  def refuse(path):
    if pathlib.Path(path).name == "locked":
      raise PermissionError(13, "Permission denied")
    return scan(path)

  monkeypatch.setattr(os, "scandir", refuse)
  photographs = find_photographs(tmp_path)
  assert photographs.names == ("a",)
  assert counts(photographs) == {"folder(s) that can't be read (give yourself permission)": 1}
  with pytest.raises(InputError, match="locked can't be read: Permission denied"):
    find_photographs(tmp_path / "locked")


def test_special_files_do_not_hang(tmp_path):
  touch(tmp_path, "a.jpg")
  os.mkfifo(tmp_path / "b.jpg")
  with socket.socket(socket.AF_UNIX) as server:
    folder = os.open(tmp_path, os.O_RDONLY)
    server.bind(f"/proc/self/fd/{folder}/c.jpg")
    os.close(folder)
    assert find_photographs(tmp_path).names == ("a",)
    for name in ("b.jpg", "c.jpg"):
      with pytest.raises(InputError, match="is a folder or a device, not an image"):
        read_image(tmp_path / name)


@pytest.mark.parametrize("num_results", [0, 3, 9])
def test_contact_sheets_are_passed_over(tmp_path, num_results):
  picture = tmp_path / "a.png"
  Image.fromarray(np.full((24, 32, 3), 9, np.uint8)).save(picture)
  tiles = [Tile(picture, ["1. a", "score", "ranks"])] * num_results
  save_contact_sheet(tmp_path / "sheet.png", Tile(picture, ["query", "a.png"]), None, tiles)
  photographs = find_photographs(tmp_path)
  assert photographs.names == ("a",)
  assert counts(photographs) == {"made by an earlier search (contact sheets)": 1}
  # One of a version that did not mark them.
  with Image.open(tmp_path / "sheet.png") as sheet:
    sheet.load()
    sheet.save(tmp_path / "sheet.png")
    assert is_contact_sheet(tmp_path / "sheet.png")
    sheet.putpixel((7, 7), (0, 0, 0))
    sheet.save(tmp_path / "sheet.png")
  assert not is_contact_sheet(tmp_path / "sheet.png")


def test_folders_for_work_are_passed_over(tmp_path):
  mark_work_folder(tmp_path / "work")
  touch(tmp_path, "a.jpg", "work/folder-1/b.jpg")
  photographs = find_photographs(tmp_path)
  assert photographs.names == ("a",)
  assert counts(photographs) == {"in working folders of programs (CACHEDIR.TAG)": 1}
  # Who asks for one gets it.
  assert find_photographs(tmp_path / "work").names == ("folder-1/b",)


def test_a_folder_of_photographs_is_not_marked_as_one_for_work(tmp_path):
  touch(tmp_path, "photos/a.jpg")
  mark_work_folder(tmp_path / "photos")
  assert find_photographs(tmp_path).names == ("photos/a",)


def test_names_that_are_no_utf8_are_kept(tmp_path):
  path = os.fsencode(tmp_path) + b"/odd-\xff.jpg"
  pathlib.Path(os.fsdecode(path)).touch()
  photographs = find_photographs(tmp_path)
  assert photographs.names == ("odd-\udcff",)
  assert os.fsencode(photographs.paths[0]) == path
