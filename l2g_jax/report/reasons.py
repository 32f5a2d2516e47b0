"""Why the embedding moves a positive down: measured facts of its known pairs, in words.

The facts are those that positives which fall have more often than others; see docs/report.md.
"""

import dataclasses
from collections.abc import Callable, Sequence

from l2g_jax.report.blocks import Column, Table, Text
from l2g_jax.report.run import EMBEDDING, METHOD, Run
from l2g_jax.report.ties import NUM_NEAREST, QueryTies, Ties, negatives_before

# Of a query, the positives that are shown.
NUM_SHOWN = 5


@dataclasses.dataclass(frozen=True)
class _Reason:
  """A fact that may explain a fall.

  Attributes:
    name: one word, as data has it.
    title: a few words.
    text: what holds of the positive.
    holds: whether it does.
  """

  name: str
  title: str
  text: str
  holds: Callable[[QueryTies, Ties], bool]


_REASONS = (
  _Reason(
    "outdone",
    "negatives closer to the query's nearest",
    "more of them have a stronger known pair with these than stood before it in the search",
    lambda query, own: own.num_closer > own.before,
  ),
  _Reason(
    "untied",
    "no tie to the query's nearest",
    "no known pair with any of them",
    lambda query, own: own.held == 0,
  ),
  _Reason(
    "surrounded",
    "among negatives",
    f"more than half of its own {NUM_NEAREST} nearest are negatives",
    lambda query, own: 2 * own.num_nearest_negative > own.num_nearest,
  ),
  _Reason(
    "misled",
    "a query among negatives",
    "more than half of the query's nearest are negatives",
    lambda query, own: 2 * query.num_negative > query.num_holders,
  ),
)


def list_reasons(query: QueryTies, own: Ties) -> list[str]:
  """Returns the names of the reasons that hold of a positive."""
  return [reason.name for reason in _REASONS if reason.holds(query, own)]


def count_reasons(ties: Sequence[QueryTies], search: str) -> list[Text | Table]:
  """Returns how many positives have each reason: those that fell, rose, and kept their place.

  Args:
    ties: of every query.
    search: the name of the search.
  """
  groups = {"fell": [], "rose": [], "kept": []}
  for query in ties:
    for own in query.positives:
      group = "fell" if own.fall > 0 else "rose" if own.fall < 0 else "kept"
      groups[group].append(list_reasons(query, own))
  fell, rose, kept = (len(groups[name]) for name in ("fell", "rose", "kept"))
  lead = Text(
    f"Of {fell + rose + kept} embedded positives {fell} fall in the embedding alone, w = 1: more"
    f" negatives stand before them than in {search}. {rose} rise, {kept} keep their place. The"
    " query's nearest are the few images with which it has known pairs: they hold it where it lies,"
    " and others come near it by their own known pairs with these. The strongest pair of a query"
    " has strength 1."
  )
  if not fell:
    return [lead]
  rows = []
  for reason in _REASONS:
    counts = [sum(reason.name in names for names in group) for group in groups.values()]
    shares = [
      100 * count / total if total else None
      for count, total in zip(counts, (fell, rose, kept), strict=True)
    ]
    rows.append((f"{reason.title}: {reason.text}", counts[0], *shares))
  without = sum(not names for names in groups["fell"])
  columns = [
    Column("reason", help="what holds of the positive"),
    Column("fell", None, "positives that fell and of which it holds"),
    Column("of the fallen, %", 0, f"of {fell}"),
    Column("of the risen, %", 0, f"of {rose}"),
    Column("of the others, %", 0, f"of {kept}, which kept their place"),
  ]
  note = (
    f"Several may hold of one positive; none holds of {without} of the fallen. A reason tells"
    " something as far as it is more frequent among the fallen than among the risen and the others."
  )
  return [lead, Table("Why the embedding moves positives down", columns, rows, note)]


def summarize_query(query: QueryTies) -> str | None:
  """Says how many positives of a query the embedding moves down, and why; None without any."""
  if not query.positives:
    return None
  fallen = [own for own in query.positives if own.fall > 0]
  text = (
    f"{len(fallen)} of {len(query.positives)} embedded positives fall. The query is held by"
    f" {_count(query.num_holders, 'image')}, {query.num_negative} of them negatives."
  )
  counts = {reason.title: sum(reason.holds(query, own) for own in fallen) for reason in _REASONS}
  parts = [f"{title} {count}" for title, count in counts.items() if count]
  return f"{text} Reasons: {', '.join(parts)}." if parts else text


def list_fallen(run: Run, q: int) -> list[int]:
  """Returns the positives before which L2G puts most negatives more, at most `NUM_SHOWN`."""
  judgement = run.dataset.ground_truth.queries[q]
  before, after = (negatives_before(run, name, q) for name in (run.search, METHOD))
  positives = sorted({*judgement.easy.tolist(), *judgement.hard.tolist()})
  fallen = [image for image in positives if after[image] > before[image]]
  fallen.sort(key=lambda image: before[image] - after[image])
  return fallen[:NUM_SHOWN]


def explain(run: Run, query: QueryTies, q: int, image: int) -> tuple[str, list[str]]:
  """Returns the reason for which a positive fell, in a few words, and what was measured of it.

  Args:
    run: what is shown.
    query: what the embedding was told.
    q: the number of the query.
    image: the positive.
  """
  names = (run.search, EMBEDDING, METHOD)
  places = ", ".join(f"{run.ranks(name, q)[image]} in {name}" for name in names)
  before = ", ".join(f"{negatives_before(run, name, q)[image]}" for name in names)
  facts = [f"Rank {places}; negatives before it {before}."]
  own = next((own for own in query.positives if own.image == image), None)
  if own is None:
    return "Not embedded", facts
  if own.fall <= 0:
    return "By the global features, not by the embedding", facts
  reason = "; ".join(reason.title for reason in _REASONS if reason.holds(query, own))
  facts += [_tell_held(query, own), _tell_nearest(own), *_tell_overtaking(own)]
  return f"{reason[:1].upper()}{reason[1:]}", facts


def _tell_held(query: QueryTies, own: Ties) -> str:
  if not query.num_holders:
    return "The query has no known pair."
  holders = f"the query's {query.num_holders} nearest ({query.num_negative} negative)"
  if own.is_holder:
    tied = f"One of {holders}, strength {own.held:.2f}"
  elif own.num_held:
    tied = f"Known pairs with {own.num_held} of {holders}, strength {own.held:.2f} at most"
  else:
    tied = f"No known pair with {holders}"
  return f"{tied}; {_count(own.num_closer, 'negative')} {_have(own.num_closer)} a stronger one."


def _tell_nearest(own: Ties) -> str:
  if not own.num_nearest:
    return "It has no known pair at all."
  return (
    f"Of its own {own.num_nearest} nearest {own.num_nearest_negative} are negatives; mean strength"
    f" {own.nearest:.2f}."
  )


def _tell_overtaking(own: Ties) -> list[str]:
  if not own.num_overtaking:
    return []
  return [
    f"{_count(own.num_overtaking, 'negative')} overtook it: {own.num_overtaking_closer}"
    f" {_have(own.num_overtaking_closer)} a stronger pair with the query's nearest; strength to"
    f" their own nearest {own.overtaking_nearest:.2f} (median)."
  ]


def _count(count: int, name: str) -> str:
  return f"{count} {name}{'' if count == 1 else 's'}"


def _have(count: int) -> str:
  return "has" if count == 1 else "have"
