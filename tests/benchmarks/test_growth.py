import pytest

from benchmarks import growth
from experiments.fire_like import FireLike


def test_present_and_former_ways_agree_on_a_small_collection(tmp_path):
  collection = FireLike(120, num_landmarks=3, images_per_landmark=20, count=20)
  row = growth.measure(collection, tmp_path / "index", num_queries=2, num_listed=4)
  assert row["search recall"] == row["former search recall"] >= 0.9
  assert row["list recall"] == row["former list recall"] > 0.5
  assert row["descriptors kB"] > 20 * 128 / 1e3 > row["lists kB"]
  again = growth.measure(collection, tmp_path / "index", num_queries=2, num_listed=4)
  assert "build ms" in row
  assert "build ms" not in again


def test_costs_continue_the_slopes():
  rows = [
    {"images": 1000, "build ms": 2.0, "list ms": 10.0, "search ms": 20.0},
    {"images": 100_000, "build ms": 2.0, "list ms": 20.0, "search ms": 200.0},
  ]
  slopes = growth.exponents(rows)
  assert slopes == pytest.approx({"build ms": 1.0, "list ms": 1.0 + 0.30103 / 2, "search ms": 0.5})
  last = rows[-1] | {"lists kB": 22.0, "descriptors kB": 78.0}
  million = growth.extrapolate(last, slopes)[0]
  assert million["machine-hours, build"] == pytest.approx(1e6 * 0.002 / 3600)
  assert million["seconds a search, one machine"] == pytest.approx(0.2 * 10**0.5)
  assert million["machines for 0.2 s"] == 10
  assert million["TB"] == pytest.approx(0.1056)
