import codecs
import collections
import json
import operator
import os
import pickle

import numpy as np
import pytest

from l2g_jax.data.ground_truth import load_ground_truth, save_ground_truth
from l2g_jax.errors import InputError
from l2g_jax.runtime.pickles import reader
from tests.golden.files import FOLDER

ENTRY = {"bbx": [0.0, 1.0, 5.0, 6.5], "easy": [2, 0], "hard": [], "junk": [1]}
CONTENT = {"imlist": ["a", "b", "c"], "qimlist": ["q"], "gnd": [ENTRY]}


def changed(**changes):
  return {**CONTENT, "gnd": [{**ENTRY, **changes}]}


def write_json(path, content):
  path.write_text(json.dumps(content))
  return path


def test_json_is_read_and_written(tmp_path):
  ground_truth = load_ground_truth(write_json(tmp_path / "gnd.json", changed(easy=[2.0, 0])))
  query = ground_truth.queries[0]
  assert query.bbx == (0.0, 1.0, 5.0, 6.5)
  np.testing.assert_array_equal(query.easy, [0, 2])
  assert query.hard.dtype == np.int64
  assert len(query.hard) == 0
  save_ground_truth(tmp_path / "again.json", ground_truth)
  again = load_ground_truth(tmp_path / "again.json")
  assert again.imlist == ground_truth.imlist
  np.testing.assert_array_equal(again.queries[0].junk, [1])


PROTOCOLS = pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))


def write_pickle(path, content, protocol=2):
  path.write_bytes(pickle.dumps(content, protocol=protocol))
  return path


@PROTOCOLS
@pytest.mark.parametrize("numpy_version", [1, 2])
@pytest.mark.parametrize(
  "entry",
  [
    {"easy": np.array([2, 0]), "hard": np.array([], np.float64), "junk": np.array([1], np.uint8)},
    {"easy": np.array([2, 0], ">i4"), "hard": np.array([], object), "junk": (np.int32(1),)},
    {"easy": {2, 0}, "hard": frozenset(), "junk": [np.uint64(1)]},
    {"easy": np.array([0, 1, 2])[::-2], "hard": (), "junk": np.array([1, None])[:1]},
    # As MATLAB has them: doubles, in arrays of two dimensions.
    {"easy": np.array([[2.0, 0.0]]), "hard": np.zeros((0, 0)), "junk": np.array([[1.0]])},
    {"easy": np.array([[2.0], [0.0]]), "hard": np.zeros((1, 0)), "junk": [np.float32(1.0)]},
  ],
)
def test_ids_of_every_kind_are_read(tmp_path, protocol, numpy_version, entry):
  path = write_pickle(tmp_path / "gnd.pkl", changed(**entry), protocol)
  if numpy_version == 1:
    old = (
      path.read_bytes()
      .replace(b"numpy._core", b"numpy.core")
      .replace(b"\x8c\x16numpy.core", b"\x8c\x15numpy.core")
      .replace(b"\x8c\x13numpy.core", b"\x8c\x12numpy.core")
    )
    path.write_bytes(old)
  query = load_ground_truth(path).queries[0]
  np.testing.assert_array_equal(query.easy, np.array([0, 2]), strict=True)
  np.testing.assert_array_equal(query.hard, np.array([], np.int64), strict=True)
  np.testing.assert_array_equal(query.junk, np.array([1]), strict=True)


@PROTOCOLS
@pytest.mark.parametrize(
  "names",
  [
    ("a", "caf\u00e9", "\U0001f600"),
    np.array(["a", "caf\u00e9", "\U0001f600"]),
    np.array(["a", "caf\u00e9", "\U0001f600"], ">U5"),
    np.array(["a", "caf\u00e9", "\U0001f600"], object),
    np.array(["a", "caf\u00e9", "\U0001f600"], np.dtypes.StringDType()),
    [np.str_("a"), "caf\u00e9".encode(), np.bytes_("\U0001f600".encode())],
    np.array(["a", "caf\u00e9", "\U0001f600"])[None],
    [np.array(["a"]), np.array(["caf\u00e9"], object), np.array([["\U0001f600"]])],
  ],
)
def test_names_of_every_kind_are_read(tmp_path, protocol, names):
  path = write_pickle(tmp_path / "gnd.pkl", {**CONTENT, "imlist": names}, protocol)
  found = load_ground_truth(path).imlist
  assert found == ("a", "caf\u00e9", "\U0001f600")
  assert {type(name) for name in found} == {str}


@PROTOCOLS
def test_boxes_and_entries_of_every_kind_are_read(tmp_path, protocol):
  for box in (np.array([0, 1, 5, 6.5], np.float32), np.array([[0, 1, 5, 6.5]])):
    entry = collections.OrderedDict({**ENTRY, "bbx": box})
    gnd = np.array([entry, None])[:1]
    path = write_pickle(tmp_path / "gnd.pkl", {**CONTENT, "gnd": gnd}, protocol)
    assert load_ground_truth(path).queries[0].bbx == (0.0, 1.0, 5.0, 6.5)


@pytest.mark.parametrize(
  ("ids", "message"),
  [
    (np.array([[0, 1], [2, 1]]), "not a list of integers"),
    (np.array([[[0, 1]]]), "not a list of integers"),
    (np.array(0), "not a list of integers"),
    (np.array([0.5]), "not a list of integers"),
    (np.array([np.nan]), "not a list of integers"),
    (np.array([np.inf]), "not a list of integers"),
    (np.array([[True]]), "not a list of integers"),
    (np.array([3.0]), r"holds 3, outside 0 \.\. 2"),
    (np.array([-1.0]), r"holds -1, outside 0 \.\. 2"),
    (np.array([1e300]), r"outside 0 \.\. 2"),
    (np.array([[0.0, 0.0]]), "listed as easy and as easy"),
  ],
)
def test_ids_that_could_be_read_in_two_ways_are_refused(tmp_path, ids, message):
  path = write_pickle(tmp_path / "gnd.pkl", changed(easy=ids))
  with pytest.raises(InputError, match=message):
    load_ground_truth(path)


def test_pickles_of_python_2_are_read(tmp_path):
  # What Python 2 writes for names that are bytes, and for an array, whose numbers are text there.
  text = (
    b"(dS'imlist'\n(lS'a'\naS'caf\\xc3\\xa9'\naS'caf\\xe9'\nasS'qimlist'\n(lS'q'\nasS'gnd'\n(l(dS'easy'\n"
    b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I2\ntcnumpy\ndtype\n(S'i2'\n"
    b"I0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\nS'\\x00\\x00\\x01\\x00'\ntbsS'hard'\n(lsS'junk'\n(lL2L\nasas."
  )
  (tmp_path / "gnd.pkl").write_bytes(text)
  ground_truth = load_ground_truth(tmp_path / "gnd.pkl")
  # Bytes that are no UTF-8 come as file systems give them to Python.
  assert ground_truth.imlist == ("a", "caf\u00e9", "caf\udce9")
  np.testing.assert_array_equal(ground_truth.queries[0].easy, [0, 1])
  np.testing.assert_array_equal(ground_truth.queries[0].junk, [2])
  save_ground_truth(tmp_path / "gnd.json", ground_truth)
  assert load_ground_truth(tmp_path / "gnd.json").imlist == ground_truth.imlist


@pytest.mark.fast
def test_published_ground_truth_is_read(tmp_path):
  ground_truth = load_ground_truth(FOLDER / "gnd_published.pkl")
  assert (len(ground_truth.imlist), len(ground_truth.qimlist)) == (400, 3)
  assert ground_truth.imlist[0] == "ashmolean_000283"
  query = ground_truth.queries[0]
  assert query.bbx == (136.5, 34.1, 648.5, 955.7)
  assert [len(query.easy), len(query.hard), len(query.junk)] == [4, 5, 5]
  save_ground_truth(tmp_path / "gnd.json", ground_truth)
  again = load_ground_truth(tmp_path / "gnd.json")
  for ours, theirs in zip(again.queries, ground_truth.queries, strict=True):
    assert ours.bbx == theirs.bbx
    np.testing.assert_array_equal(ours.hard, theirs.hard)


class Hostile:
  def __init__(self, function, *arguments):
    self.call = function, arguments

  def __reduce__(self):
    return self.call


@PROTOCOLS
@pytest.mark.parametrize(
  ("function", "name"),
  [
    (os.mkdir, "mkdir"),
    (os.system, "system"),
    (eval, "eval"),
    (getattr, "getattr"),
    (np.load, "numpy.load"),
    (np.fromfile, "fromfile"),
    (np.memmap, "numpy.memmap"),
    (codecs.decode, "_codecs.decode"),
    (operator.attrgetter, "operator.attrgetter"),
  ],
)
def test_a_pickle_that_calls_code_is_refused_and_not_run(tmp_path, protocol, function, name):
  victim = tmp_path / "made"
  hostile = {**CONTENT, "x": Hostile(function, str(victim))}
  path = write_pickle(tmp_path / "gnd.pkl", hostile, protocol)
  with pytest.raises(InputError, match=rf"{name}, which no ground truth needs"):
    load_ground_truth(path)
  assert not victim.exists()


DTYPE = b"cnumpy\ndtype\n(S'%s'\nI0\nI1\ntR"
ARRAY = b"cnumpy.core.numeric\n_frombuffer\n(%s" + DTYPE + b"%sS'%s'\ntR"
DAMAGED = "truncated or not a pickle"


@pytest.mark.parametrize(
  ("easy", "message"),
  [
    # Arrays that are larger than what the pickle has of them.
    (ARRAY % (b"C\x01\x00", b"i8", b"(L1099511627776L\nt", b"C"), DAMAGED),
    (ARRAY % (b"C\x01\x00", b"i1", b"(I2\nt", b"C"), DAMAGED),
    (ARRAY % (b"C\x00", b"U0", b"(L1099511627776L\nt", b"C"), DAMAGED),
    (ARRAY % (b"C\x00", b"i8", b"(L1099511627776L\nI0\nt", b"C"), "list of integers|" + DAMAGED),
    (ARRAY % (b"C\x01\x00", b"i1", b"(I-1\nt", b"C"), DAMAGED),
    (ARRAY % (b"C\x01\x00", b"i1", b"(I1\nt", b"X"), DAMAGED),
    (ARRAY % (b"C\x01\x00", b"i1", b"(" + 40 * b"I1\n" + b"t", b"C"), DAMAGED),
    (ARRAY % (b"C\x04\xff\xff\xff\xff", b"U1", b"(I1\nt", b"C"), DAMAGED),
    # Types with objects, fields or places within.
    (ARRAY % (b"C\x08\x00\x00\x00\x00\x00\x00\x00\x00", b"O8", b"(I1\nt", b"C"), DAMAGED),
    (ARRAY % (b"C\x08\x00\x00\x00\x00\x00\x00\x00\x00", b"i4,i4", b"(I1\nt", b"C"), DAMAGED),
    (DTYPE % b"V8", DAMAGED),
    (DTYPE % b"U9999999999", DAMAGED),
    (DTYPE % b"i8" + b"(I3\nS'<'\nN(S'x'\nt(dI-1\nI-1\nI0\ntb", DAMAGED),
    # Objects that are not filled in, or filled with something else.
    (b"cnumpy.core.multiarray\n_reconstruct\n(t" + b"R", "not a list of integers"),
    (b"cnumpy.core.multiarray\n_reconstruct\n(tRI1\nb", DAMAGED),
    (b"c_codecs\nencode\n(Vx\nVzip\ntR", DAMAGED),
    (b"cbuiltins\nbytes\n(L1099511627776L\ntR", DAMAGED),
    (b"cbuiltins\nbytearray\n(L1099511627776L\ntR", DAMAGED),
    (b"cbuiltins\nset\n(Vx\ntR", DAMAGED),
    # Sizes that are not there.
    (b"\x96\x00\x00\x00\x00\x00\x01\x00\x00", DAMAGED),
    (b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff", DAMAGED),
    (b"\x8b\xff\xff\xff\x7f", DAMAGED),
    # What refers outside of the file.
    (b"\x82\x01", DAMAGED),
    (b"\x97", DAMAGED),
    (b"Pplace\n", "refers to objects outside"),
    (b"8", DAMAGED),
  ],
)
def test_hostile_pickles_are_refused_before_anything_is_built(tmp_path, easy, message):
  with pytest.raises(InputError, match=message):
    load_ground_truth(write_around(tmp_path / "gnd.pkl", easy))


def write_around(path, easy, *, before=b""):
  """Writes a ground truth with an easy list that is given as a pickle has it."""
  start = b"(dVimlist\n(lVa\naVb\naVc\nasVqimlist\n(lVq\nasVgnd\n(l(dVeasy\n"
  path.write_bytes(before + start + easy + b"sVhard\n(lsVjunk\n(lI1\nasas.")
  return path


def test_a_great_number_in_the_memo_takes_no_memory(tmp_path):
  ground_truth = load_ground_truth(write_around(tmp_path / "gnd.pkl", b"]r\xff\xff\xff\xff"))
  assert len(ground_truth.queries[0].easy) == 0


@pytest.mark.parametrize(
  ("start", "more"), [(b"]", b"(h\x00h\x00lq\x00"), (b")", b"h\x00h\x00\x86q\x00")]
)
def test_references_are_not_followed_for_ever(tmp_path, start, more):
  # Twice what was before, two hundred times: as elements, as a name, as a box, and as a key.
  bomb = start + b"q\x000" + 200 * (more + b"0") + b"h\x00"
  with pytest.raises(InputError, match="not a list of integers"):
    load_ground_truth(write_around(tmp_path / "gnd.pkl", b"(" + bomb + b"l"))
  with pytest.raises(InputError, match="not a list of integers"):
    load_ground_truth(write_around(tmp_path / "gnd.pkl", bomb))
  for key in (b"imlist", b"qimlist", b"gnd"):
    path = write_around(tmp_path / "gnd.pkl", b"(l")
    old = {b"imlist": b"Va\na", b"qimlist": b"Vq\na", b"gnd": b"(lI1\nas"}[key]
    new = {b"imlist": bomb + b"a", b"qimlist": bomb + b"a", b"gnd": b"(lI1\nasVbbx\n" + bomb + b"s"}
    path.write_bytes(path.read_bytes().replace(old, new[key]))
    with pytest.raises(InputError, match=r"not a name|not four numbers"):
      load_ground_truth(path)
  path = write_around(tmp_path / "gnd.pkl", b"(l", before=b"(d" + bomb + b"I1\ns0")
  assert load_ground_truth(path).imlist == ("a", "b", "c")


def test_keys_of_one_hash_end(tmp_path):
  # Each of these integers has the hash 0, which makes a dictionary of them quadratic.
  keys = b"".join(
    pickle.LONG1 + b"\x0c" + (i * (2**61 - 1)).to_bytes(12, "little") + b"N"
    for i in range(1, 200_000)
  )
  path = write_around(tmp_path / "gnd.pkl", b"(l", before=b"}(" + keys + b"u0")
  assert load_ground_truth(path).imlist == ("a", "b", "c")


def test_a_pickle_with_too_many_parts_is_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(reader, "MOST_STEPS", 1000)
  path = write_around(tmp_path / "gnd.pkl", b"(l", before=1000 * b"N0")
  with pytest.raises(InputError, match="it has more parts than any such file needs"):
    load_ground_truth(path)


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
    (changed(easy=[3.0]), r"easy list of query q .* holds 3, outside 0 \.\. 2"),
    (changed(bbx=[5, 0, 5, 9]), "empty or not finite"),
    (changed(bbx=[0, 0, float("nan"), 9]), "empty or not finite"),
    (changed(bbx=[0, 0, 9]), "not four numbers"),
    (changed(bbx=["0", 0, 9, 9]), "not four numbers"),
    (changed(bbx=[0, 0, 9, 10**400]), "not four numbers"),
    (changed(easy=[10**400]), "outside"),
    (changed(easy=[True]), "not a list of integers"),
    (changed(easy={"0": 1}), "not a list of integers"),
    (changed(easy=[[0]]), "not a list of integers"),
    ({**CONTENT, "imlist": ["a", "b\0", "c"]}, "which no file can be named"),
    ({**CONTENT, "imlist": ["a", "\ud800", "c"]}, "which no file can be named"),
    ({**CONTENT, "imlist": "abc"}, "not a list of names"),
    ({**CONTENT, "gnd": "q"}, "one entry of gnd"),
  ],
)
def test_ground_truth_that_does_not_hold_together_is_refused(tmp_path, content, message):
  with pytest.raises(InputError, match=message):
    load_ground_truth(write_json(tmp_path / "gnd.json", content))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_json_may_begin_with_a_byte_order_mark(tmp_path, encoding):
  text = json.dumps({**CONTENT, "qimlist": ["caf\u00e9"]}, ensure_ascii=False)
  (tmp_path / "gnd.json").write_text(text, encoding=encoding)
  assert load_ground_truth(tmp_path / "gnd.json").qimlist == ("caf\u00e9",)


def test_json_that_is_not_utf_8_or_too_deep_is_refused(tmp_path):
  text = json.dumps({**CONTENT, "qimlist": ["caf\u00e9"]}, ensure_ascii=False)
  (tmp_path / "gnd.json").write_text(text, encoding="latin-1")
  with pytest.raises(InputError, match=r"gnd\.json is not UTF-8: save it in that encoding"):
    load_ground_truth(tmp_path / "gnd.json")
  (tmp_path / "gnd.json").write_text("[" * 100_000)
  with pytest.raises(InputError, match="truncated or not JSON"):
    load_ground_truth(tmp_path / "gnd.json")
