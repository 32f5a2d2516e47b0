import json
import os
import pickle

import numpy as np
import pytest

from l2g_jax.data.ground_truth import load_ground_truth, save_ground_truth
from l2g_jax.errors import InputError
from tests.shared import shared_path

ENTRY = {"bbx": [0.0, 1.0, 5.0, 6.5], "easy": [2, 0], "hard": [], "junk": [1]}
CONTENT = {"imlist": ["a", "b", "c"], "qimlist": ["q"], "gnd": [ENTRY]}


def changed(**changes):
  return {**CONTENT, "gnd": [{**ENTRY, **changes}]}


def write_json(path, content):
  path.write_text(json.dumps(content))
  return path


def test_json_is_read_and_written(tmp_path):
  ground_truth = load_ground_truth(write_json(tmp_path / "gnd.json", CONTENT))
  query = ground_truth.queries[0]
  assert query.bbx == (0.0, 1.0, 5.0, 6.5)
  np.testing.assert_array_equal(query.easy, [0, 2])
  assert query.hard.dtype == np.int64
  assert len(query.hard) == 0
  save_ground_truth(tmp_path / "again.json", ground_truth)
  again = load_ground_truth(tmp_path / "again.json")
  assert again.imlist == ground_truth.imlist
  np.testing.assert_array_equal(again.queries[0].junk, [1])


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_pickle_with_arrays_is_read(tmp_path, protocol):
  content = changed(easy=np.array([0, 2]), hard=np.array([], np.int64), bbx=np.array([0, 1, 5, 6]))
  (tmp_path / "gnd.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
  np.testing.assert_array_equal(load_ground_truth(tmp_path / "gnd.pkl").queries[0].easy, [0, 2])


@pytest.mark.parametrize(("name", "images"), [("roxford5k", 4993), ("rparis6k", 6322)])
def test_published_ground_truth_is_read(tmp_path, name, images):
  ground_truth = load_ground_truth(shared_path("data", "gnd", f"gnd_{name}.pkl"))
  assert (len(ground_truth.imlist), len(ground_truth.qimlist)) == (images, 70)
  save_ground_truth(tmp_path / "gnd.json", ground_truth)
  again = load_ground_truth(tmp_path / "gnd.json")
  for ours, theirs in zip(again.queries, ground_truth.queries, strict=True):
    assert ours.bbx == theirs.bbx
    np.testing.assert_array_equal(ours.hard, theirs.hard)


class Hostile:
  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return os.mkdir, (self.path,)


def test_a_pickle_that_calls_code_is_refused_and_not_run(tmp_path):
  victim = tmp_path / "made"
  (tmp_path / "gnd.pkl").write_bytes(pickle.dumps({**CONTENT, "x": Hostile(str(victim))}))
  with pytest.raises(InputError, match=r"mkdir, which no ground truth needs"):
    load_ground_truth(tmp_path / "gnd.pkl")
  assert not victim.exists()


def test_truncated_files_are_refused(tmp_path):
  (tmp_path / "gnd.pkl").write_bytes(pickle.dumps(CONTENT)[:-20])
  (tmp_path / "gnd.json").write_text(json.dumps(CONTENT)[:-20])
  (tmp_path / "empty.pkl").write_bytes(b"")
  for name in ("gnd.pkl", "gnd.json", "empty.pkl"):
    with pytest.raises(InputError, match="truncated"):
      load_ground_truth(tmp_path / name)


def test_missing_or_foreign_files_are_refused(tmp_path):
  with pytest.raises(InputError, match="no ground truth at"):
    load_ground_truth(tmp_path / "gnd.json")
  (tmp_path / "gnd.txt").write_text("")
  with pytest.raises(InputError, match=r"neither \.json nor \.pkl"):
    load_ground_truth(tmp_path / "gnd.txt")


@pytest.mark.parametrize(
  ("content", "message"),
  [
    ([], "lacks imlist"),
    ({"imlist": ["a"], "qimlist": ["q"]}, "lacks imlist, qimlist or gnd"),
    ({**CONTENT, "gnd": []}, "one entry of gnd for each of its 1"),
    ({**CONTENT, "imlist": ["a", "a", "b"]}, "'a' twice"),
    ({**CONTENT, "imlist": ["a", "../b", "c"]}, "outside the image folder"),
    ({**CONTENT, "imlist": ["a", 1, "c"]}, "not a name"),
    ({**CONTENT, "qimlist": []}, "not a list of names"),
    (changed(easy=[3]), r"easy list of query q .* holds 3, outside 0 \.\. 2"),
    (changed(easy=[-1]), "holds -1"),
    (changed(junk=[0]), "listed as easy and as junk"),
    (changed(easy=[0, 0]), "listed as easy and as easy"),
    (changed(easy=[0.5]), "not a list of integers"),
    (changed(bbx=[5, 0, 5, 9]), "empty or not finite"),
    (changed(bbx=[0, 0, float("nan"), 9]), "empty or not finite"),
    (changed(bbx=[0, 0, 9]), "not four numbers"),
  ],
)
def test_ground_truth_that_does_not_hold_together_is_refused(tmp_path, content, message):
  with pytest.raises(InputError, match=message):
    load_ground_truth(write_json(tmp_path / "gnd.json", content))
