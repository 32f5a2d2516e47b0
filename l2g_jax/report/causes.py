"""Why a query gains or loses AP against the search: which stage moves its positives, and which."""

import collections

import numpy as np

from l2g_jax.report import words
from l2g_jax.report.run import EMBEDDING, METHOD, Judged, Run

# Protocols that are explained; easy has few images to lose.
EXPLAINED = ("medium", "hard")
# Points of AP; a smaller change is none.
_SAME = 0.05
_MOST_NAMED = 3

BY_EMBEDDING = "embedding"
BY_GLOBAL = "global features"


def find_cause(run: Run, judged: Judged, q: int, protocol: str) -> str | None:
  """Returns which part of L2G loses more of a query's AP; None where L2G loses none.

  Args:
    run: what is shown.
    judged: of the run.
    q: the number of the query.
    protocol: `medium` or `hard`.
  """
  alone, joined = _parts(run, judged, q, protocol)
  if not alone + joined < -_SAME:
    return None
  return BY_EMBEDDING if alone <= joined else BY_GLOBAL


def summarize(run: Run, judged: Judged, protocol: str) -> str:
  """Counts the losses and gains of all queries, and the causes of the losses."""
  changes = judged.change(protocol, run.search)
  causes = [find_cause(run, judged, q, protocol) for q in range(len(changes))]
  count = collections.Counter(cause for cause in causes if cause)
  lost, gained = sum(count.values()), int(np.sum(changes > _SAME))
  same = int(np.sum(~np.isnan(changes))) - lost - gained
  parts = (
    f"Of {words.count(lost, 'loss')} in {protocol}: {count[BY_EMBEDDING]} by the embedding,"
    f" {count[BY_GLOBAL]} by the global features."
    if lost
    else f"No losses in {protocol}."
  )
  without = int(np.sum(np.isnan(changes)))
  return (
    f"{parts} {words.count(gained, 'query')} {words.verb(gained, 'gain')} and {same}"
    f" {words.verb(same, 'stay')} within {_SAME} points"
    + (f"; {without} {words.verb(without, 'have')} no positives in {protocol}." if without else ".")
    + f" The losses add up to {-np.nansum(np.minimum(changes, 0)):.1f} points of AP, the gains to"
    f" {np.nansum(np.maximum(changes, 0)):.1f}.{_name_worst(run, changes, protocol)}"
  )


def explain(run: Run, judged: Judged, q: int, protocol: str) -> str:
  """Says in words what L2G does to a query's AP; see `find_cause`."""
  query = run.dataset.ground_truth.queries[q]
  positives = query.hard if protocol == "hard" else np.concatenate([query.easy, query.hard])
  if not len(positives):
    return f"The query has no positives in {protocol}."
  alone, joined = _parts(run, judged, q, protocol)
  words = []
  if not np.isin(positives, run.candidates.ids[q]).any():
    words.append("No positive is among the candidates, so none is embedded.")
  elif not run.diagnostics.num_known[q]:
    words.append("No pair is known, so the order of the search stands.")
  change = alone + joined
  cause = find_cause(run, judged, q, protocol)
  if cause:
    moved = f"loses {-change:.1f} points"
  else:
    moved = f"gains {change:.1f} points" if change > _SAME else "keeps its AP"
  words.append(
    f"L2G {moved} against {run.search}: the embedding"
    f" alone {alone:+.1f}, the global features on top {joined:+.1f}"
    + (f": the loss is of the {cause}." if cause else ".")
  )
  if len(positives) == 1:
    words.append(f"{protocol.capitalize()} has 1 positive, so one change of rank moves AP far.")
  return " ".join(words)


def list_embedded(run: Run, judged: Judged, q: int) -> str:
  """Says how many positives are embedded, and names others with their ranks in the search."""
  ranks, reached = run.ranks(run.search, q), run.candidates.ids[q]
  others = sorted(set(_positives(run, q)) - set(reached.tolist()), key=lambda image: ranks[image])
  text = f"{judged.num_reached[q]} of {judged.num_positives[q]} positives"
  if not others:
    return text
  names = run.dataset.ground_truth.imlist
  listed = ", ".join(f"{names[image]} (rank {ranks[image]})" for image in others[:_MOST_NAMED])
  return f"{text}; not embedded, so they keep the order of the search: {listed}{_and_more(others)}"


def _name_worst(run: Run, changes: np.ndarray, protocol: str) -> str:
  """Names the queries that lose most, and how many positives they have where these are few."""
  worst = [q for q in np.argsort(changes)[:_MOST_NAMED].tolist() if changes[q] < -_SAME]
  if not worst:
    return ""
  truth = run.dataset.ground_truth
  listed = []
  for q in worst:
    query = truth.queries[q]
    count = len(query.hard) if protocol == "hard" else len(query.hard) + len(query.easy)
    few = f", {words.count(count, 'positive')}" if count <= _MOST_NAMED else ""
    listed.append(f"{truth.qimlist[q]} ({changes[q]:+.1f}{few})")
  return f" Most is lost by {', '.join(listed)}."


def _parts(run: Run, judged: Judged, q: int, protocol: str) -> tuple[float, float]:
  """Returns by how much the embedding alone changes AP, and the global features on top of it."""
  own = judged.precisions[protocol]
  alone = own[EMBEDDING][q] - own[run.search][q]
  return float(alone), float(own[METHOD][q] - own[EMBEDDING][q])


def _positives(run: Run, q: int) -> list[int]:
  query = run.dataset.ground_truth.queries[q]
  return np.concatenate([query.easy, query.hard]).tolist()


def _and_more(images: list[int]) -> str:
  more = len(images) - _MOST_NAMED
  return f", and {more} more" if more > 0 else ""
