import numpy as np
import pytest

from l2g_jax.cann import CannConfig, CannIndex, scoring, shares
from l2g_jax.cann.config import Reach
from l2g_jax.errors import InputError
from l2g_jax.similarity.codec import encode
from tests.cann import oracle

IMAGES = oracle.collection(0)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
  """An index of three segments, without some images of each."""
  images = list(IMAGES.items())
  config = CannConfig(num_lists=10, burst_power=0.5)
  made = CannIndex.build(tmp_path_factory.mktemp("shares") / "index", images[:20], config)
  return made.add(images[20:33]).add(images[33:]).remove([images[i][0] for i in (0, 7, 21, 32, 39)])


def search(index, query, k, depth, num_shares, screened=0):
  """Searches shares one after another, and joins what they find."""
  code = encode(query, where="query")
  edges = shares.bounds(len(index.names), num_shares)
  parts = [index.share(*edge) for edge in edges]
  reach = Reach(4, depth, screened, whole=not screened)
  count = max(depth, screened) + k
  found = []
  for part, (start, _) in zip(parts, edges, strict=True):
    scanned = part.scan(code, count, reach)
    found.append(scoring.Scanned(scanned.ids + start, scanned.values))

  def rescore(ids, *, screening=False):
    values = np.zeros(len(ids), np.float32)
    for part, (start, stop) in zip(parts, edges, strict=True):
      here = (ids >= start) & (ids < stop)
      values[here] = part.similarities([code], ids[here] - start, screening=screening)[0]
    return values

  best = shares.join(found, count)
  if screened:
    best = scoring.screen(best, screened, lambda ids: rescore(ids, screening=True))
  return scoring.best_images(best, k, depth=depth, rescore=rescore)


@pytest.mark.parametrize("num_shares", [1, 2, 5, 99])
@pytest.mark.parametrize(("k", "depth"), [(1, 0), (5, 3), (99, 99)])
def test_shares_find_to_the_bit_what_the_index_finds(index, num_shares, k, depth):
  for query in list(IMAGES.values())[::8]:
    whole = index.search(query, k, num_probes=4, rescoring_depth=depth)
    ids, similarities = search(index, query, k, depth, num_shares)
    np.testing.assert_array_equal(ids, whole.ids[: len(ids)])
    np.testing.assert_array_equal(similarities, whole.similarities[: len(ids)])
    assert not whole.similarities[len(ids) :].any()


def test_shares_screen_to_the_bit_as_the_index_does(index, monkeypatch):
  monkeypatch.setattr(scoring, "_LEAST_DESCRIPTORS", 3)
  for query in list(IMAGES.values())[::8]:
    code = encode(query, where="query")
    whole = index._searcher.search([code], 9, Reach(4, 3, 12, whole=False))
    ids, similarities = search(index, query, 9, 3, 3, screened=12)
    np.testing.assert_array_equal(ids, whole.ids[0, : len(ids)])
    np.testing.assert_array_equal(similarities, whole.similarities[0, : len(ids)])


def test_equal_images_in_two_shares_come_by_their_ids():
  parts = [
    scoring.Scanned(np.array([3, 1]), np.array([0.5, 0.25])),
    scoring.Scanned(np.array([7, 9]), np.array([0.5, 0.25])),
  ]
  assert shares.join(parts, 3).ids.tolist() == [3, 7, 1]


def test_a_share_holds_the_codes_of_its_images_alone(index):
  counts = index.counts()
  part = index.share(10, 15)
  assert part.names == index.names[10:15]
  assert part.counts().tolist() == counts[10:15].tolist()
  held = sum(int(segment.lists.counts.sum()) for segment in part._segments)
  removed = len(IMAGES["image-007"])
  assert counts[10:15].sum() <= held <= counts[10:15].sum() + removed


def test_a_share_of_no_images_is_refused(index):
  for start, stop in ((0, 0), (30, 36), (-1, 4)):
    with pytest.raises(InputError, match="are no share of the 35 of the index"):
      index.share(start, stop)
