import re
import sys
from xml.etree import ElementTree

import numpy as np
import pytest

from l2g_jax.errors import InputError
from l2g_jax.report import plots
from l2g_jax.report.thumbnails import Thumbnail

pytest.importorskip("matplotlib")

SERIES = {"one <b>": ([100, 400, 700], [1.0, 2.0, 3.0]), "two": ([100, 400, 700], [3.0, 1.0, 2.0])}


def draw(**options):
  return plots.lines(SERIES, x="k & more", y="mAP", **options)


def test_a_plot_brings_no_style_address_or_name():
  for svg in (draw(log_x=True, log_y=True, mark_x=400), plots.scatter(SERIES, x="a", y="b")):
    assert svg.startswith("<svg viewBox=")
    for word in ("style=", "<style", "http", "xlink", "<g id", "metadata", "#010203"):
      assert word not in svg
    assert 'stroke="currentColor"' in svg


def test_words_stay_words_and_are_escaped():
  svg = draw()
  assert ">k &amp; more</text>" in svg
  assert ">one &lt;b&gt;</text>" in svg


def test_a_logarithmic_axis_has_the_values_as_plain_numbers():
  svg = draw(log_x=True)
  assert all(f">{value}</text>" in svg for value in (100, 400, 700))
  # Points that lie anywhere have those of the powers.
  assert ">400</text>" not in plots.scatter(SERIES, x="x", y="y", log_x=True)


def drawn_lines(svg):
  """Returns the lines of the series, the later drawn last."""
  paths = [each.attrib for each in ElementTree.fromstring(svg).iter() if each.tag == "path"]
  return [path for path in paths if "clip-path" in path and path["d"].count("L") == 2]


@pytest.mark.parametrize("subject", SERIES)
def test_the_subject_is_wide_and_solid_and_drawn_last(subject):
  other, own = drawn_lines(draw(subject=subject))
  assert (other["stroke-width"], own["stroke-width"]) == ("1.2", "3.6")
  assert "stroke-dasharray" in other
  assert "stroke-dasharray" not in own
  # Without a subject the order of the series stands, the widest first.
  assert [line["stroke-width"] for line in drawn_lines(draw())] == ["3.6", "1.2"]


def test_one_series_without_a_name_has_no_legend():
  with_legend = plots.lines({"one": ([1, 2], [1.0, 2.0])}, x="x", y="y")
  without = plots.lines({"": ([1, 2], [1.0, 2.0])}, x="x", y="y")
  assert len(without) < len(with_legend)


@pytest.mark.fast
def test_the_same_plot_is_the_same_text():
  assert draw() == draw()


def test_series_must_have_as_many_values_along_both_axes():
  with pytest.raises(InputError, match="'a' has 2 values along x and 1 along y"):
    plots.scatter({"a": ([1, 2], [1.0])}, x="x", y="y")


def test_a_missing_matplotlib_is_told_in_a_sentence(monkeypatch):
  monkeypatch.setitem(sys.modules, "matplotlib", None)
  plots._matplotlib.cache_clear()
  with pytest.raises(InputError, match=r'pip install "l2g_jax\[report\]"'):
    draw()


def test_points_have_titles_and_links():
  groups = {"a": ([3.0, 1.0], [1.0, 2.0]), "b <": ([2.0], [2.0])}
  points = {name: [plots.Point(f"{name}{n}", f"query-{n}") for n in range(2)] for name in groups}
  svg = plots.scatter(groups, x="", y="", points=points | {"b <": points["b <"][:1]})
  links = [each for each in ElementTree.fromstring(svg).iter() if each.tag == "a"]
  assert [link.attrib["href"] for link in links] == ["#query-0", "#query-1", "#query-0"]
  assert [link[0].text for link in links] == ["a0", "a1", "b <0"]
  # Each leads from its own marker.
  places = [float(link[1].attrib["x"]) for link in links]
  assert places[1] < places[2] < places[0]


def corners(svg):
  """Returns the left upper corners of the pictures."""
  images = [each for each in ElementTree.fromstring(svg).iter() if each.tag == "image"]
  return np.array([(float(each.attrib["x"]), float(each.attrib["y"])) for each in images])


def test_thumbnails_lie_at_their_points_and_hide_no_other():
  groups = {"a": ([0.0, 10.0], [0.0, 10.0]), "b": ([5.0] * 20, [5.0] * 20)}
  apart = [Thumbnail("a", 2.0, 2.0, b"1"), Thumbnail("a", 8.0, 8.0, b"2")]
  together = [Thumbnail("b", 5.0, 5.0, b"3")] * 20
  svg = plots.scatter(groups, x="", y="", thumbnails=[*apart, *together])
  found = corners(svg)
  # Right is more along x, and above, of less in an SVG, is more along y.
  assert found[0, 0] < found[2, 0] < found[1, 0]
  assert found[0, 1] > found[2, 1] > found[1, 1]
  np.testing.assert_allclose(found[2], (found[0] + found[1]) / 2, atol=0.05)
  distances = np.abs(found[:, None] - found[None]).max(axis=2)
  side = float(re.findall(r"<image[^>]* width=.([0-9.]+)", svg)[0])
  assert distances[~np.eye(22, dtype=bool)].min() > side
  # The frames of two groups differ by their dashes too.
  assert len({*re.findall(r"<rect[^>]*stroke-dasharray=.([^\"]+)", svg)}) == 2
