import json
import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from l2g_jax.cli.search import COMMAND
from l2g_jax.data.images import read_image
from l2g_jax.report.contact_sheet import Tile, save_contact_sheet
from l2g_jax.retriever.copies import SAME_FILE, SAME_PIXELS, Files, find_copies
from tests.cli import toy

_CONSTANT = (7, 8, 9)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
  """A folder with what people have beside photographs."""
  root = tmp_path_factory.mktemp("photos")
  folder = toy.write_dataset(root) / "toy" / "jpg"
  with Image.open(folder / "image-1-0.jpg") as picture:
    picture.load()
  picture.save(folder / "IMG_3.JPG", format="JPEG", quality=60)
  picture.save(folder / "IMG_3.PNG")
  picture.save(os.fsencode(folder) + b"/odd-\xff.png", format="PNG")
  picture.save(folder / "line\nbreak.png")
  transparent = picture.convert("RGBA")
  transparent.putalpha(Image.linear_gradient("L").resize(picture.size))
  transparent.save(folder / "alpha.png")
  Image.new("RGB", (64, 48), _CONSTANT).save(folder / "constant.png")
  Image.new("RGB", (64, 48), (9, 8, 7)).save(folder / "a.png")
  (folder / "broken.jpg").write_bytes(b"no image")
  (folder / "new.heic").write_bytes(b"no image")
  (folder / "@eaDir").mkdir()
  picture.save(folder / "@eaDir" / "thumbnail.jpg")
  return folder


@pytest.fixture(scope="module")
def work(tmp_path_factory):
  return tmp_path_factory.mktemp("work")


@pytest.fixture
def search(photos, work, monkeypatch, capsys):
  """Searches the folder; returns the report and what is printed."""
  monkeypatch.chdir(work)

  def run(*flags):
    flags = [f"--images={photos}", "--output=out.json", "--local=sift", *flags]
    COMMAND.run(arguments=flags)
    return json.loads((work / "out.json").read_text()), capsys.readouterr().out

  return run


def test_all_of_a_users_folder_is_searched_or_told(photos, work, search):
  query = photos / "image-1-0.jpg"
  flags = [f"--query={query}", "--num_results=40", f"--contact_sheet={photos / 'sheet.png'}"]
  report, printed = search(*flags)
  results = {entry["name"]: entry for entry in report["results"]}
  assert {"IMG_3.JPG", "IMG_3.PNG", "odd-\udcff", "line\nbreak", "constant"} <= set(results)
  # What can't be read is no result, not even the last.
  assert "broken" not in results
  copies = {name: entry["copy"] for name, entry in results.items() if entry["copy"]}
  assert copies == {
    "image-1-0": SAME_FILE,
    "query-1": SAME_FILE,
    "IMG_3.PNG": SAME_PIXELS,
    "line\nbreak": SAME_PIXELS,
    "odd-\udcff": SAME_PIXELS,
  }
  assert max(results[name]["rank"] for name in copies) == len(copies)
  assert os.fsencode(results["odd-\udcff"]["path"]).endswith(b"/odd-\xff.png")
  assert report["left_out"] == {
    "hidden, or thumbnails and trash of other programs": 1,
    "in the format HEIC (pip install pillow-heif)": 1,
  }
  for text in (
    "Left without features. broken: ",
    "1 image: transparent parts are seen on white (alpha).",
    "Without local features, hence last: 2 of 27 images.",
    "line\\nbreak",
    "Left out of the search: 1 hidden, or thumbnails and trash of other programs; 1 in the format",
  ):
    assert text in printed
  # So that it is none of the photographs if it lies among them.
  assert (work / "work" / "CACHEDIR.TAG").is_file()


def test_a_query_without_features_finds_its_exact_copy_and_says_so(search, tmp_path):
  query = tmp_path / "query.bmp"
  Image.new("RGB", (64, 48), _CONSTANT).save(query)
  report, printed = search(f"--query={query}")
  assert [(entry["name"], entry["copy"]) for entry in report["results"]] == [
    ("constant", SAME_PIXELS)
  ]
  # What the first search drew.
  assert report["left_out"]["made by an earlier search (contact sheets)"] == 1
  assert "The query has no local features and no global ones" in printed
  assert "exact copies of the query: constant (the same pixels)" in printed


def test_a_sheet_that_can_not_be_written_is_told_before_the_work(photos, tmp_path, monkeypatch):
  (tmp_path / "file").touch()
  monkeypatch.chdir(tmp_path)
  flags = [f"--images={photos}", f"--query={photos / 'a.png'}", "--contact_sheet=file/sheet.png"]
  assert "file/sheet.png can't be written" in toy.refused(COMMAND, *flags)
  assert not [*tmp_path.rglob("part-*")]


def test_copies_are_known_by_content_not_by_name(tmp_path):
  rng = np.random.default_rng(0)
  query, same, other = (tmp_path / f"{name}.png" for name in ("query", "same", "other"))
  pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
  Image.fromarray(pixels).save(query)
  Image.fromarray(pixels).save(tmp_path / "pixels.bmp")
  same.write_bytes(query.read_bytes())
  content = bytearray(query.read_bytes())
  content[-1] ^= 1
  other.write_bytes(content)
  files = Files([other, same, tmp_path / "pixels.bmp", tmp_path / "gone.png"])
  assert find_copies(query, pixels, files, suspects=[2, 3]) == {1: SAME_FILE, 2: SAME_PIXELS}
  assert find_copies(query, None, files, suspects=[2, 3]) == {1: SAME_FILE}


def test_a_picture_that_can_not_be_read_is_a_grey_tile(tmp_path):
  photo = tmp_path / "a.png"
  Image.fromarray(np.full((30, 40, 3), (0, 0, 200), np.uint8)).save(photo)
  tiles = [
    Tile(pathlib.Path(tmp_path / name), [f"{name} caf\u00e9"]) for name in ("a.png", "b\udcff.png")
  ]
  save_contact_sheet(tmp_path / "sheet.png", Tile(photo, ["query", "two\nlines"]), None, tiles)
  sheet = read_image(tmp_path / "sheet.png")
  # The middles of the second and the third tile of 240 pixels, with gaps of 12.
  np.testing.assert_array_equal(sheet[200, 12 + 252 + 120], (0, 0, 200))
  tile = sheet[12:252, 12 + 504 : 252 + 504]
  np.testing.assert_array_equal(tile[239, 239], (190, 190, 190))
  # Its text.
  assert tile.min() < 60


def test_the_box_of_a_query_is_drawn_where_it_is(tmp_path, monkeypatch):
  monkeypatch.setattr("l2g_jax.data.decoding.MAX_WHOLE_PIXELS", 480 * 480 // 4)
  Image.new("RGB", (480, 480), "white").save(tmp_path / "a.jpg")
  save_contact_sheet(
    tmp_path / "sheet.png", Tile(tmp_path / "a.jpg", ["query"]), (240.0, 120.0, 479.0, 360.0), []
  )
  with Image.open(tmp_path / "sheet.png") as picture:
    sheet = np.asarray(picture, int)
  is_frame = np.abs(sheet - (215, 60, 30)).sum(axis=2) < 60
  # A picture of 480 pixels in a tile of 240, which starts at 12.
  assert is_frame[12 + 120, 12 + 120 : 12 + 123].any()
  assert not is_frame[12 + 60 : 12 + 180, 12 + 10 : 12 + 110].any()
