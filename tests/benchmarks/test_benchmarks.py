import dataclasses
import json

import jax
import numpy as np
import pytest

from benchmarks import chamfer, common, defaults, mds, readings, rerank, shortlists
from benchmarks.common import Ceilings
from l2g_jax.evaluation import evaluate
from l2g_jax.pipeline.config import PAPER
from l2g_jax.pipeline.l2g import L2G
from l2g_jax.ranked import complete_rankings
from l2g_jax.ranking.rerank import superglobal_rerank
from tests.experiments.labelled import labelled
from tests.pipeline.problems import CONFIG

CEILINGS = Ceilings(flops=1e11, bytes=1e10)


@pytest.fixture(autouse=True)
def without_torch(monkeypatch):
  monkeypatch.setattr(common, "has_torch", lambda: False)


def rows_of(tables, start):
  (rows,) = (rows for title, rows in tables.items() if title.startswith(start))
  return rows


def test_mds_reaches_the_stress_of_its_peer():
  deltas = np.stack([common.clustered_dissimilarities(seed, 30, 4) for seed in range(2)])
  tables = mds.compare({"clusters": deltas}, 6, 1, CEILINGS)
  peer, *others = rows_of(tables, "SMACOF and peers")
  reached = [row for row in others if "until below" in row["method"]]
  assert "momentum, until below" in {row["method"] for row in reached}
  for row in reached:
    assert row["stress"] <= peer["stress"] * (1.0 + 1e-4)
    assert row["ratio"] == row["seconds"] / peer["seconds"]
  assert "quasi_newton, until below" in {row["method"] for row in reached}
  for row in rows_of(tables, "Methods"):
    times = {name: row[f"{name} ms"] for name in mds.METHODS if f"{name} ms" in row}
    assert times[row["first"]] == min(times.values())
    iterations = [row[f"{name} iterations"] for name in times]
    assert all(0 <= count <= 300 for count in iterations)
  assert len(rows_of(tables, "Batches")) == 2


def test_counted_work_grows_with_the_iterations():
  flops, num_bytes = mds.count_work(701, 128, 40)
  fewer_flops, fewer_bytes = mds.count_work(701, 128, 39)
  assert flops - fewer_flops == 4 * 701**2 * 128 + 8 * 701**2
  assert num_bytes > fewer_bytes


def test_clusters_are_dissimilarities():
  delta = common.clustered_dissimilarities(3, 50, 5)
  np.testing.assert_array_equal(delta, delta.T)
  np.testing.assert_array_equal(np.diag(delta), 0.0)
  off_diagonal = delta[~np.eye(50, dtype=bool)]
  assert np.all((off_diagonal >= 0.2) & (off_diagonal <= 1.0))
  assert np.mean(off_diagonal < 1.0) == pytest.approx(0.1, abs=0.04)


def test_stage_is_timed_over_k_and_over_queries():
  tables = rerank.compare((8, 16), (1, 3), size=12, dimension=16, repeats=1, ceilings=CEILINGS)
  assert [row["queries"] for row in rows_of(tables, "The stage over the number")] == [1, 3]
  assert [row["k"] for row in rows_of(tables, "The stage over k")] == [8, 16]
  for row in rows_of(tables, "SuperGlobal"):
    assert row["largest difference"] < 1e-5


def test_readings_of_the_recipe_differ_as_their_settings_do():
  given = labelled()
  assert given.ground_truth is not None
  search, *rows = readings.reading_rows(given, 4, "D = 1 - s^0.5", 0.5)
  order = complete_rankings(given.candidates.ids, None, len(given.ground_truth.imlist))
  assert search == {"reading": "D = 1 - s^0.5: search alone", **defaults.maps(given, order)}
  assert [(row["w"], row["M"]) for row in rows] == [
    *((0.19, 4), (0.81, 4)),
    *((0.19, 1600), (0.81, 1600)),
  ]
  config = dataclasses.replace(PAPER, power=0.5, num_embedded=4)
  result = L2G(0.81, config)(given.candidates, given.lists, given.features)
  report = evaluate(result.rankings, given.ground_truth)
  assert rows[-1]["medium"] == 100.0 * report["medium"].map


def test_defaults_stand_beside_their_parents_and_the_sweep():
  given = labelled()
  assert given.ground_truth is not None
  known: tuple[defaults.Known, ...] = (("contrast", 0.6, 1, 2), ("similarity", 0.3, 2, 4))
  weights = (1.0, 0.5)
  summary, rows = defaults.sweep(given, CONFIG, 0.5, known=known, weights=weights)
  assert [row["ranking"] for row in rows] == [
    *("global", "global+rerank", "chamfer"),
    *("l2g, contrast, query 1, t = 2, w = 1", "l2g, contrast, query 1, t = 2, w = 0.5"),
    *("l2g, similarity, query 2, t = 4, w = 1", "l2g, similarity, query 2, t = 4, w = 0.5"),
  ]
  for protocol in ("medium", "hard"):
    parent = max(row[protocol] for row in rows[:3])
    best = max(row[protocol] for row in rows[3:])
    assert summary[f"{protocol} - parent"] == summary[protocol] - parent
    assert summary[f"{protocol} - best"] == summary[protocol] - best
  # The sweep's own, whatever the configuration says.
  config = dataclasses.replace(
    CONFIG, measure="similarity", power=0.3, num_known=4, num_query_known=2
  )
  result = L2G(0.5, config)(given.candidates, given.lists, given.features)
  report = evaluate(result.rankings, given.ground_truth)
  assert rows[-1]["medium"] == 100.0 * report["medium"].map


def test_numpy_peer_is_superglobal():
  features = np.random.default_rng(0).random((21, 8), np.float32)
  features /= np.linalg.norm(features, axis=1, keepdims=True)
  expected = jax.jit(lambda *rows: superglobal_rerank(*rows, num_neighbors=4, beta=0.3))(
    features[0], features[1:]
  )
  scores = rerank.superglobal_in_numpy(features[0], features[1:], 4, 0.3)
  np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_synthetic_shortlists_are_ranked_and_leave_out_oneself():
  given = shortlists.synthetic_shortlists(3, 10, 8, num_images=40)
  for neighbors in (given.candidates, given.lists):
    assert np.all(np.diff(neighbors.similarities, axis=1) <= 0.0)
    assert all(len(set(row)) == 10 for row in neighbors.ids.tolist())
  assert not np.any(given.lists.ids == np.arange(40)[:, None])


def test_scans_agree_with_their_peers():
  tables = chamfer.compare(20, 5, repeats=1, ceilings=CEILINGS, dimension=16)
  assert len(rows_of(tables, "Scan")) == 9
  assert all(row["images"] >= 20 for row in rows_of(tables, "Scan"))
  for row in rows_of(tables, "20 images"):
    assert row["largest difference"] < 1e-5


def test_a_report_is_json_and_a_table_has_a_line_a_row(capsys):
  rows = [{"method": "a", "seconds": 0.123456}, {"method": "b", "ratio": None}]
  report = common.make_report({"title": rows}, CEILINGS)
  assert json.loads(json.dumps(report))["tables"]["title"] == rows
  common.print_table("title", rows)
  lines = capsys.readouterr().out.strip().splitlines()
  assert lines[0] == "title"
  assert lines[2].split() == ["a", "0.1235", "-"]
  assert len({len(line) for line in lines[1:]}) == 1


def test_ceilings_are_measured():
  ceilings = common.measure_ceilings(quick=True)
  assert ceilings.flops > 1e6
  assert ceilings.bytes > 1e6


def test_what_a_benchmark_measured_is_written_before_the_next_begins(tmp_path, capsys):
  def succeed(_values, _ceilings):
    return {"first": [{"figure": 1.5}]}

  def fail(_values, _ceilings):
    raise MemoryError

  path = tmp_path / "report.json"
  command = common.make_command("toy", "", common.Benchmark(succeed), common.Benchmark(fail))
  values, _ = command.parse(["--quick", f"--output={path}"])
  with pytest.raises(MemoryError):
    command.main(values)
  assert json.loads(path.read_text())["tables"] == {"first": [{"figure": 1.5}]}
  assert "first\nfigure\n1.5" in capsys.readouterr().out
