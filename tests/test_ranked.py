import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2g_jax import ranked
from l2g_jax.errors import InputError
from l2g_jax.ranked import Ranked, check_ranked, complete_rankings

NUM_IMAGES = 6
GOOD = Ranked(
  np.array([[5, 0, -1], [2, 1, 3]], np.int32),
  np.array([[0.9, 0.5, 0.0], [0.4, 0.4, 0.1]], np.float32),
)


def changed(field, value):
  array = getattr(GOOD, field).copy()
  array[-1, -1] = value
  return dataclasses.replace(GOOD, **{field: array})


def test_ranked_images_unpack_as_ids_and_similarities():
  ids, similarities = GOOD
  assert ids is GOOD.ids
  assert similarities is GOOD.similarities


@pytest.mark.parametrize("kind", [np.int32, np.int64, np.uint8])
def test_ranked_images_that_fit_pass_with_integers_of_any_kind(kind):
  ids = np.maximum(GOOD.ids, 0).astype(kind)
  check_ranked("lists", Ranked(ids, GOOD.similarities), 2, NUM_IMAGES)
  check_ranked("lists", GOOD, 2, NUM_IMAGES)
  check_ranked("lists", Ranked(GOOD.ids[:, :0], GOOD.similarities[:, :0]), 2, NUM_IMAGES)


@pytest.mark.parametrize(
  ("given", "message"),
  [
    (
      Ranked(GOOD.ids[0], GOOD.similarities[0]),
      r"must be ids and similarities \[2, k\], not",
    ),
    (Ranked(GOOD.ids[:1], GOOD.similarities[:1]), r"\[2, k\], not \(1, 3\)"),
    (Ranked(GOOD.ids, GOOD.similarities[:, :2]), r"not \(2, 3\) and \(2, 2\)"),
    (
      Ranked(GOOD.similarities, GOOD.similarities),
      "the lists must be integers, not float32",
    ),
    (changed("ids", NUM_IMAGES), "lists hold an id outside -1 .. 5"),
    (changed("ids", -2), "lists hold an id outside -1 .. 5"),
    (changed("similarities", -0.1), "similarity that is below 0 or not finite"),
    (changed("similarities", np.nan), "similarity that is below 0 or not finite"),
    (changed("similarities", np.inf), "similarity that is below 0 or not finite"),
  ],
)
def test_ranked_images_that_do_not_fit_are_refused(given, message):
  with pytest.raises(InputError, match=message):
    check_ranked("lists", given, 2, NUM_IMAGES)


def test_mapped_arrays_are_checked_in_parts(monkeypatch, tmp_path):
  np.save(tmp_path / "ids.npy", np.tile(GOOD.ids, (4, 1)))
  np.save(tmp_path / "similarities.npy", np.tile(GOOD.similarities, (4, 1)))
  mapped = Ranked(
    *(np.load(tmp_path / f"{name}.npy", mmap_mode="r+") for name in ("ids", "similarities"))
  )
  sizes = []
  isfinite = np.isfinite

  def count(values):
    sizes.append(values.size)
    return isfinite(values)

  monkeypatch.setattr(ranked, "CHECKED_VALUES", 6)
  monkeypatch.setattr(np, "isfinite", count)
  check_ranked("lists", mapped, 8, NUM_IMAGES)
  assert sizes == [6] * 4
  mapped.ids[-1, -1] = NUM_IMAGES
  with pytest.raises(InputError, match="lists hold an id outside"):
    check_ranked("lists", mapped, 8, NUM_IMAGES)


def test_complete_rankings_by_hand():
  ids = np.array([[4, 2, 0, -1], [1, -1, -1, -1]])
  order = np.array([[3, 1, 2, 0], [1, 0, 2, 3]])
  np.testing.assert_array_equal(
    complete_rankings(ids, order, 5), [[2, 0, 4, 1, 3], [1, 0, 2, 3, 4]]
  )
  np.testing.assert_array_equal(complete_rankings(ids, None, 5), [[4, 2, 0, 1, 3], [1, 0, 2, 3, 4]])


@given(st.integers(0, 10_000), st.integers(0, 12), st.booleans())
def test_completed_rankings_are_permutations(seed, size, ordered):
  rng = np.random.default_rng(seed)
  ids = np.stack([np.pad(rng.permutation(9), (0, 3), constant_values=-1)[:size] for _ in range(3)])
  order = np.stack([rng.permutation(size) for _ in range(3)]) if ordered else None
  rankings = complete_rankings(ids, order, 9)
  np.testing.assert_array_equal(np.sort(rankings, axis=1), np.tile(np.arange(9), (3, 1)))
  count = min(size, 9)
  np.testing.assert_array_equal(np.sort(rankings[:, :count]), np.sort(ids[:, :count]))
