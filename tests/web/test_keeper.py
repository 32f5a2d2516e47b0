import os
import shutil
import threading

import pytest

from l2g_jax.web import keeper as keepers
from l2g_jax.web import warming
from l2g_jax.web.found import image_id
from l2g_jax.web.keeper import Keeper
from tests.retriever import photos
from tests.web.conftest import wait_for


def collection_of(images, work):
  features = photos.options().features
  options = {"features": features, "num_candidates": 5}
  return keepers.Collection(images, work, options)


@pytest.fixture
def folder(tmp_path):
  (tmp_path / "photos").mkdir()
  return tmp_path / "photos"


@pytest.fixture
def started(folder, monkeypatch):
  """Returns what starts a keeper whose steps are small; it is stopped after the test."""
  monkeypatch.setattr(keepers, "FIRST_STEP", 4)
  # The tests' photographs are all of one time, long ago; their entries are new.
  monkeypatch.setattr(keepers, "_SETTLED_SECONDS", 0.0)
  monkeypatch.setattr(warming, "warm_search", lambda retriever: None)
  monkeypatch.setattr(warming, "warm_map", lambda retriever: None)
  running = []

  def start():
    keeper = Keeper(collection_of(folder, folder.parent / "work"), poll_seconds=0.02)
    keeper.start()
    running.append(keeper)
    return keeper

  yield start
  for keeper in running:
    assert keeper.stop(30.0)


def names(keeper):
  state = keeper.state()
  return set() if state is None else set(state.retriever.names)


def write(folder, *numbers):
  for number in numbers:
    photos.write(folder / f"{number}.bmp", number)


def test_a_large_folder_can_be_searched_before_all_of_it_is_taken_in(folder, started, monkeypatch):
  sizes, told = [], []
  tell = lambda: told.append((keeper.status().num_images, keeper.status().num_expected))
  monkeypatch.setattr(
    warming, "warm_search", lambda retriever: (sizes.append(len(retriever.names)), tell())
  )
  write(folder, *range(20))
  keeper = started()
  assert wait_for(lambda: len(names(keeper)) == 20)
  assert sizes == [4, 8, 16, 20]
  # The page says how many of the folder can be searched.
  assert told == [(0, 20), (4, 20), (8, 20), (16, 20)]
  assert keeper.status().generation == 4
  # What is there is opened at once, without a step.
  assert keeper.stop(30.0)
  again = started()
  assert wait_for(lambda: len(names(again)) == 20)
  assert sizes[4:] == [20]


def test_what_goes_on_is_told(folder, monkeypatch):
  told = []
  write(folder, 1, 2, 3)
  keeper = Keeper(collection_of(folder, folder.parent / "work"))
  tell = lambda retriever: told.append(keeper.status().work.title)
  monkeypatch.setattr(keepers, "_SETTLED_SECONDS", 0.0)
  monkeypatch.setattr(warming, "warm_search", tell)
  monkeypatch.setattr(warming, "warm_map", tell)
  choose = keeper._choose
  monkeypatch.setattr(keeper, "_choose", lambda *given: (choose(*given), tell(None))[0])
  keeper._look()
  assert told == ["taking in photographs", "getting ready to search", "getting ready to draw maps"]


def test_what_comes_changes_moves_and_goes_is_followed(folder, started):
  write(folder, 1, 2, 3, 4, 5)
  keeper = started()
  assert wait_for(lambda: len(names(keeper)) == 5)
  first = keeper.state()
  write(folder, 6)
  (folder / "1.bmp").unlink()
  (folder / "2.bmp").rename(folder / "moved.bmp")
  photos.write(folder / "3.bmp", 33)
  assert wait_for(lambda: names(keeper) == {"3", "4", "5", "6", "moved"})
  found = keeper.state().retriever.search(photos.write(folder.parent / "query.bmp", 33), k=1)
  assert (found[0].name, found[0].copy) == ("3", "the same file")
  # A search that goes on has the state that it began with.
  assert set(first.retriever.names) == {"1", "2", "3", "4", "5"}
  assert set(keeper.found().pictures) == set(map(image_id, names(keeper)))


def test_an_empty_folder_is_waited_for(folder, started):
  keeper = started()
  assert wait_for(lambda: "holds no image" in keeper.status().message)
  assert keeper.status().state == "preparing"
  write(folder, 1, 2, 3)
  assert wait_for(lambda: keeper.status().state == "ready")
  assert keeper.status().message == ""


def test_a_folder_that_vanishes_is_still_searched(folder, started):
  write(folder, 1, 2, 3)
  keeper = started()
  assert wait_for(lambda: len(names(keeper)) == 3)
  shutil.move(folder, folder.with_name("away"))
  assert wait_for(lambda: "There is no folder" in keeper.status().message)
  assert keeper.status().state == "ready"
  assert len(names(keeper)) == 3
  shutil.move(folder.with_name("away"), folder)
  assert wait_for(lambda: keeper.status().message == "")


def test_an_error_is_told_and_tried_again(folder, started, monkeypatch):
  monkeypatch.setattr(keepers, "_RETRY_SECONDS", 0.02)
  broken = threading.Event()
  broken.set()

  def warm_up(retriever):
    if broken.is_set():
      raise RuntimeError("out of luck")

  monkeypatch.setattr(warming, "warm_search", warm_up)
  write(folder, 1, 2, 3)
  keeper = started()
  assert wait_for(lambda: keeper.status().state == "failed")
  assert "out of luck" in keeper.status().message
  broken.clear()
  assert wait_for(lambda: keeper.status().state == "ready")


def test_a_file_that_is_being_written_waits(folder, monkeypatch):
  write(folder, 1, 2, 3)
  keeper = Keeper(collection_of(folder, folder.parent / "work"), poll_seconds=0.02)
  assert keeper._look() > 0
  assert keeper.state() is None
  # Nothing waits for others for ever.
  monkeypatch.setattr(keepers, "_PATIENCE_SECONDS", 0.0)
  monkeypatch.setattr(warming, "warm_search", lambda retriever: None)
  monkeypatch.setattr(warming, "warm_map", lambda retriever: None)
  # The keeper that all tests share looks at its own folder meanwhile.
  monkeypatch.setattr(
    keepers, "_settled", lambda before, now: {name: now[name] for name in now if name != "3"}
  )
  keeper._look()
  assert names(keeper) == {"1", "2"}


def test_a_file_with_a_clock_that_is_ahead_is_settled_once_it_is_still():
  ahead = (1, 1 << 62, 5, 6)
  assert keepers._settled({}, {"a": ahead}) == {}
  assert keepers._settled({"a": ahead}, {"a": ahead}) == {"a": ahead}


def test_the_web_leaves_what_was_made_of_a_folder_alone(folder, started):
  write(folder, 1, 2, 3)
  keeper = started()
  assert wait_for(lambda: len(names(keeper)) == 3)
  kept = keeper.collection.directory / "web" / "reduced" / "a.jpg"
  kept.parent.mkdir(parents=True)
  kept.write_bytes(b"a picture")
  write(folder, *range(4, 12))
  assert wait_for(lambda: len(names(keeper)) == 11)
  assert os.path.exists(kept)
