import collections
import concurrent.futures
import threading
import time

import pytest

from l2g_jax.data.photo_folders import files_below
from l2g_jax.errors import SettingError
from l2g_jax.web.decoders import Decoders
from l2g_jax.web.failures import Refusal
from l2g_jax.web.kept_files import KeptFiles
from l2g_jax.web.limits import Limits
from l2g_jax.web.memo import Memo
from tests.web import tasks


@pytest.fixture(scope="module")
def decoders():
  opened = Decoders(2, seconds=1.0)
  yield opened
  opened.close()


def test_a_worker_answers_and_hands_errors_on(decoders):
  assert decoders.run(tasks.add, 2, 3) == 5
  with pytest.raises(Refusal, match=r"^so it is$") as refused:
    decoders.run(tasks.refuse, 418, "so it is")
  assert refused.value.status == 418
  with pytest.raises(Refusal, match="ZeroDivisionError"):
    decoders.run(tasks.divide, 1, 0)


def test_what_takes_too_long_is_ended_and_others_go_on(decoders, tmp_path):
  with pytest.raises(Refusal, match="longer than 1 s") as refused:
    decoders.run(tasks.sleep_then_write, 2.5, tmp_path / "late")
  assert refused.value.status == 504
  assert [decoders.run(tasks.add, n, 1) for n in range(4)] == [1, 2, 3, 4]
  time.sleep(2.0)
  assert not (tmp_path / "late").exists()


def test_a_worker_that_dies_is_replaced(decoders):
  with pytest.raises(Refusal, match="memory at hand"):
    decoders.run(tasks.die)
  assert decoders.run(tasks.add, 1, 1) == 2


def make_in(kept, name, content):
  return kept.make(name, lambda path: path.write_bytes(content))


def test_kept_files_are_bounded_and_what_was_used_last_stays(tmp_path):
  kept = KeptFiles(tmp_path / "kept", most_bytes=1000)
  for number in range(9):
    make_in(kept, str(number), bytes(100))
    kept.find("0")
  make_in(kept, "9", bytes(100))
  make_in(kept, "10", bytes(100))
  left = {path.name for path in kept.root.iterdir()} - {"CACHEDIR.TAG"}
  assert "0" in left
  assert "1" not in left
  assert len(left) == 9
  # What an earlier server kept counts.
  assert len(list(KeptFiles(kept.root, most_bytes=500).root.iterdir())) == 5
  assert kept.find("none") is None


def test_kept_pictures_are_no_photographs_of_the_user(tmp_path):
  make_in(KeptFiles(tmp_path / "kept", most_bytes=1000), "a.jpg", b"a")
  assert list(files_below(tmp_path, collections.defaultdict(list))) == []


def test_a_result_is_made_once_and_the_last_are_kept():
  memo, made = Memo(2), []
  entered, leave = threading.Event(), threading.Event()

  def make():
    made.append(1)
    entered.set()
    leave.wait(10)
    return "a"

  with concurrent.futures.ThreadPoolExecutor(4) as pool:
    futures = [pool.submit(memo.get, "a", make) for _ in range(4)]
    entered.wait(10)
    leave.set()
    assert [future.result() for future in futures] == ["a"] * 4
  assert len(made) == 1
  for key in "bca":
    memo.get(key, lambda key=key: made.append(key))
  assert made == [1, "b", "c", "a"]


def test_an_error_is_not_kept():
  memo = Memo(2)
  with pytest.raises(ZeroDivisionError):
    memo.get("a", lambda: 1 // 0)
  assert memo.get("a", lambda: 1) == 1


def test_limits_check_themselves():
  with pytest.raises(SettingError, match="upload_bytes"):
    Limits(upload_bytes=0)
