import pytest

from l2g_jax.cli import evaluate
from l2g_jax.cli.similarity_flags import read_similarity
from l2g_jax.errors import InputError
from l2g_jax.retriever.asmk_search import AsmkSearch
from l2g_jax.retriever.pair_similarity import PairSimilarity
from tests.cli import toy


def read(*words):
  return read_similarity(evaluate.COMMAND.parse([*words])[0])


@pytest.mark.fast
def test_every_similarity_is_one_flag():
  assert read() is None
  spatial = read("--similarity=spatial", "--depth=50", "--list_depth=7")
  assert isinstance(spatial, PairSimilarity)
  assert (spatial.name, spatial.depth, spatial.list_depth) == ("spatial", 50, 7)
  binary = read("--similarity=asmk", "--num_words=99")
  assert isinstance(binary, AsmkSearch)
  assert (binary.config.binary, binary.num_words) == (True, 99)
  full = read("--similarity=asmk-float")
  assert isinstance(full, AsmkSearch)
  assert (full.config.binary, full.num_words) == (False, None)


@pytest.mark.parametrize(
  ("words", "message"),
  [
    (["--similarity=cosine"], "must be chamfer, asmk, .* not 'cosine'"),
    (["--similarity=ames"], r"ames:WEIGHTS or learned.*, not 'ames'"),
    (["--similarity=ames:nowhere.safetensors"], r"no checkpoint at nowhere\.safetensors"),
    (["--similarity=learned:nowhere"], "no weights at nowhere; .*train_similarity` makes them"),
    (["--similarity=learned", "--work_dir=away"], r"no weights at away/trained/learned\.saf"),
    (["--similarity=spatial", "--depth=0"], "--depth must be at least 1"),
    (["--similarity=asmk", "--num_words=0"], "--num_words must be at least 1"),
  ],
)
def test_what_is_no_similarity_is_refused(words, message):
  with pytest.raises(InputError, match=message):
    read(*words)


def test_candidates_of_others_do_not_go_with_a_search_of_its_own(tmp_path):
  toy.write_dataset(tmp_path)
  with pytest.raises(InputError, match="--similarity=asmk is one itself"):
    toy.call(
      evaluate.COMMAND,
      data_root=tmp_path,
      dataset="toy",
      local="sift",
      similarity="asmk",
      candidates="found.txt",
    )
