import dataclasses

import numpy as np
import pytest

from l2g_jax.errors import InputError
from l2g_jax.ranking.asmk import AsmkConfig, build_index, open_index, rank, save_index
from l2g_jax.ranking.asmk.codebook import Codebook
from l2g_jax.runtime import files
from tests.ranking.asmk.test_scoring import problem


@pytest.mark.parametrize("binary", [True, False])
def test_an_index_is_read_as_written(tmp_path, binary):
  centroids, images, queries = problem(0)
  index = build_index(Codebook(centroids), images, AsmkConfig(binary=binary, use_idf=True))
  save_index(tmp_path / "index", index)
  opened = open_index(tmp_path / "index", verify=True)
  assert opened.config == index.config
  assert (opened.num_images, opened.nbytes) == (12, index.nbytes)
  np.testing.assert_array_equal(rank(opened, queries), rank(index, queries))


def test_a_damaged_index_is_refused(tmp_path):
  centroids, images, _ = problem(0)
  path = tmp_path / "index"
  save_index(path, build_index(Codebook(centroids), images))
  file = path / "vectors.npy"
  content = file.read_bytes()
  file.write_bytes(content[:-4])
  with pytest.raises(InputError, match="is truncated"):
    open_index(path)
  file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
  with pytest.raises(InputError, match="was altered"):
    open_index(path, verify=True)


def test_arrays_that_do_not_fit_are_refused(tmp_path):
  centroids, images, _ = problem(0)
  index = build_index(Codebook(centroids), images)
  crooked = index.offsets.copy()
  crooked[2] = crooked[1] - 1
  for number, changes in enumerate(
    (
      {"offsets": index.offsets[:-1]},
      {"offsets": index.offsets + 1},
      {"offsets": crooked},
      {"vectors": index.vectors[:, :1]},
      {"images": index.images.astype(np.int64)},
      {"config": AsmkConfig(binary=False)},
    )
  ):
    save_index(tmp_path / str(number), dataclasses.replace(index, **changes))
    with pytest.raises(InputError, match="do not fit together"):
      open_index(tmp_path / str(number))
  files.save_bundle(
    tmp_path / "other",
    kind="l2g_jax.asmk_index",
    version=1,
    arrays={"centroids": centroids},
    metadata={"colour": "red"},
  )
  with pytest.raises(InputError, match="unknown settings"):
    open_index(tmp_path / "other")
