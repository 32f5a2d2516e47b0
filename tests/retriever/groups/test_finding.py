import numpy as np
import pytest

from l2g_jax.errors import SettingError
from l2g_jax.retriever.groups import GroupOptions, comparing, find_groups, find_pairs
from l2g_jax.retriever.groups.pictures import open_pictures
from l2g_jax.runtime import files
from tests.retriever.groups import pictures

MIRRORS = GroupOptions(mirrors=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return pictures.write_folder(tmp_path_factory.mktemp("photos") / "jpg")


@pytest.fixture(scope="module")
def retriever(folder, tmp_path_factory):
  return pictures.open_folder(folder, tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="module")
def found(retriever):
  return find_groups(retriever, MIRRORS)


def test_relations_are_told_by_kind(found):
  known = pictures.relations(found)
  kinds = {frozenset(pair): relation.kind for pair, relation in known.items()}
  # Of equal files the first name stands for all; the whole comes before its part.
  assert kinds[frozenset(("a", "a-copy"))] == "same file"
  assert kinds[frozenset(("a", "a-pixels"))] == "same pixels"
  assert kinds[frozenset(("a", "a-low"))] == "duplicate"
  assert known["a", "a-crop"].kind == "part"
  assert not known["a", "a-crop"].is_inset
  assert known["collage", "a"].is_inset
  assert known["collage", "b"].is_inset
  assert kinds[frozenset(("flat", "flat-copy"))] == "same file"
  assert not {name for pair in known for name in pair} & {"c", "c-from-aside", "broken"}


def test_turns_and_mirrors_are_told(found):
  known = {
    frozenset(pair): (pair[0], relation) for pair, relation in pictures.relations(found).items()
  }
  first, turned = known[frozenset(("a", "a-turned"))]
  assert turned.kind == "duplicate"
  assert turned.turn == (90 if first == "a" else 270)
  assert not turned.mirrored
  _, mirrored = known[frozenset(("a", "a-mirrored"))]
  assert (mirrored.kind, mirrored.turn, mirrored.mirrored) == ("duplicate", 0, True)


def test_regions_are_where_the_parts_lie(found):
  known = pictures.relations(found)
  crop = np.array([[100, 60], [300, 60], [300, 220], [100, 220]]) / pictures.SIZE
  np.testing.assert_allclose(known["a", "a-crop"].region_first, crop, atol=0.01)
  whole = [[0, 0], [1, 0], [1, 1], [0, 1]]
  np.testing.assert_allclose(known["a", "a-crop"].region_second, whole, atol=0.01)
  inset = np.array([[280, 16], [504, 16], [504, 184], [280, 184]]) / [520, 200]
  np.testing.assert_allclose(known["collage", "b"].region_first, inset, atol=0.01)


def test_what_can_not_be_read_is_in_no_group(found, retriever):
  assert len(retriever.names) - found.num_images == 2
  members = {member.name for group in found for member in group.members}
  assert {"flat", "flat-copy"} <= members
  assert not members & {"broken", "broken-copy"}


def test_a_collage_ties_its_pictures_to_no_group(found):
  (of_a,) = [group for group in found if "a" in [member.name for member in group.members]]
  (of_b,) = [group for group in found if "b" in [member.name for member in group.members]]
  names = {member.name for member in of_a.members}
  assert names == {
    *("a", "a-copy", "a-pixels", "a-low", "a-crop", "a-turned", "a-mirrored", "collage")
  }
  assert [member.name for member in of_b.members] == ["b", "collage"]
  assert found.groups[0] is of_a


def test_a_whole_picture_of_full_detail_is_kept(found):
  best = [member for member in found.groups[0].members if member.is_best]
  assert best == [found.groups[0].members[0]]
  assert best[0].name == "a-pixels"  # Of equal ones the largest file.
  assert (best[0].width, best[0].height) == pictures.SIZE
  order = [member.name for member in found.groups[0].members]
  assert order.index("a-low") < order.index("a-crop") < order.index("collage")


def test_without_mirrors_none_are_found(retriever, found):
  plain = find_groups(retriever)
  expected = {pair for pair, own in pictures.relations(found).items() if not own.mirrored}
  assert set(pictures.relations(plain)) == expected


def test_another_view_is_an_object(retriever):
  groups = find_groups(retriever, GroupOptions(kind="objects"))
  relation = pictures.relations(groups)["c", "c-from-aside"]
  assert relation.kind == "object"
  assert relation.inliers >= 15
  assert 0.5 <= relation.score < 1.0
  (group,) = [group for group in groups if relation in group.relations]
  assert {member.name for member in group.members} == {"c", "c-from-aside"}
  assert group.kind == "objects"


# The collage shows what was cropped, too.
SHOWN = ({"a-crop", "collage"}, {"b", "collage"})


@pytest.mark.parametrize(
  ("kind", "expected"),
  [
    ("copies", [{"a", "a-copy", "a-pixels", "a-low", "a-turned"}, {"flat", "flat-copy"}]),
    ("crops", [{"a", "a-copy", "a-pixels", "a-low", "a-turned", "a-crop"}]),
    ("insets", [{"a", "a-copy", "a-pixels", "a-low", "a-turned", "collage"}, *SHOWN]),
    ("views", [{"c", "c-from-aside"}]),
  ],
)
def test_relations_of_one_kind_are_looked_for_alone(retriever, kind, expected):
  groups = find_groups(retriever, GroupOptions(kind=kind))
  assert [{member.name for member in group.members} for group in groups] == expected
  for group in groups:
    kinds = {relation.group_kind for relation in group.relations}
    assert {kind} <= kinds <= {"copies", kind}


def measured(monkeypatch):
  """Counts the pairs that are measured from now on, by the names of their files."""
  calls = []
  compare = comparing.compare_overlay

  def counting(given, min_inliers, pair):
    calls.append({given.names[key][0] for key in pair[:2]})
    return compare(given, min_inliers, pair)

  monkeypatch.setattr(comparing, "compare_overlay", counting)
  return calls


def test_a_grown_folder_measures_new_pairs_alone(retriever, folder, found, monkeypatch):
  calls = measured(monkeypatch)
  assert find_groups(retriever, MIRRORS) == found
  assert calls == []
  pictures.texture(1).crop((0, 0, 200, 200)).save(folder / "b-crop.png")
  retriever.refresh()
  grown = find_groups(retriever)
  assert ("b", "b-crop") in pictures.relations(grown)
  assert calls
  assert all("b-crop" in names for names in calls)
  (folder / "b-crop.png").unlink()
  retriever.refresh()
  assert find_groups(retriever, MIRRORS) == found
  # What was known of the picture that went is gone, in one part.
  (part,) = parts_of(retriever)
  facts = files.load_bundle(part, kind="l2g_jax.pairs", version=1).metadata["facts"]
  # Those of a, its changed copies, the collage and b; the equal file has none of its own.
  assert len(facts) == 8


def parts_of(retriever, options=MIRRORS):
  """Returns the parts of what was measured with some settings."""
  with comparing.open_ledger(open_pictures(retriever), "groups", options.min_inliers) as ledger:
    return sorted(ledger.root.glob("part-*"))


def test_an_interrupted_run_goes_on_and_a_damaged_part_is_measured_again(retriever, monkeypatch):
  # Another setting of the measurement has a ledger of its own.
  options = GroupOptions(min_inliers=5)
  monkeypatch.setattr(comparing, "_PAIRS", 10)
  calls = measured(monkeypatch)

  def interrupt(title, done, _):
    if title == "duplicates and parts" and done >= 20:
      raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    find_groups(retriever, options, interrupt)
  assert len(calls) == 20
  first = find_groups(retriever, options)
  count = len(calls)
  assert len({frozenset(names) for names in calls}) == count > 20
  (part,) = parts_of(retriever, options)
  (part / "manifest.json").write_text("{}")
  assert find_groups(retriever, options) == first
  assert len(calls) == 2 * count


def test_one_picture_is_no_group(tmp_path):
  (tmp_path / "jpg").mkdir()
  pictures.texture(5).save(tmp_path / "jpg" / "only.png")
  retriever = pictures.open_folder(tmp_path / "jpg", tmp_path / "work")
  groups = find_groups(retriever, MIRRORS)
  assert (len(groups), groups.num_images) == (0, 1)
  assert find_pairs(retriever, num_neighbors=3, min_inliers=None) == []


def test_pairs_are_neighbours_each_once(retriever):
  every = find_pairs(retriever, num_neighbors=4, min_inliers=None)
  assert every == sorted({(min(pair), max(pair)) for pair in every})
  verified = find_pairs(retriever, num_neighbors=4, min_inliers=15)
  assert set(verified) <= set(every)
  assert ("c", "c-from-aside") in verified
  assert ("b", "c") not in verified
  with pytest.raises(SettingError, match="min_inliers"):
    find_pairs(retriever, num_neighbors=4, min_inliers=3)


@pytest.mark.parametrize(
  "settings", [{"kind": "faces"}, {"depth": 0}, {"min_correlation": 1.5}, {"min_inliers": 2}]
)
def test_settings_out_of_range_are_refused(settings):
  with pytest.raises(SettingError):
    GroupOptions(**settings)
