"""Why the embedding moves a positive down: measured facts of its known pairs, in words.

The facts are those that positives which fall have more often than others; see docs/report.md.
"""

import dataclasses
import math
from collections.abc import Callable, Collection, Mapping, Sequence

from l2g_jax.report import words
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


def count_reasons(
  ties: Sequence[QueryTies], search: str, *, losing: Collection[int]
) -> list[Text | Table]:
  """Returns how many positives have each reason: those that fell, rose, and kept their place.

  Args:
    ties: of every query.
    search: the name of the search.
    losing: the numbers of the queries that lose AP, medium, by the embedding.
  """
  groups: dict[str, list[list[str]]] = {"fell": [], "lost": [], "rose": [], "kept": []}
  for q, query in enumerate(ties):
    for own in query.positives:
      group = "fell" if own.fall > 0 else "rose" if own.fall < 0 else "kept"
      names = list_reasons(query, own)
      groups[group].append(names)
      if group == "fell" and q in losing:
        groups["lost"].append(names)
  fell, lost, rose, kept = (len(group) for group in groups.values())
  lead = [
    Text(_define(ties, search)),
    Text(
      f"Of {fell + rose + kept} embedded positives {fell} {words.verb(fell, 'fall')}, {rose}"
      f" {words.verb(rose, 'rise')} and {kept} {words.verb(kept, 'keep')} their place. {lost} of"
      f" the fallen {words.verb(lost, 'belong')} to the losing queries: the {len(losing)} that"
      f" {words.verb(len(losing), 'lose')} AP, medium, by the embedding."
    ),
  ]
  if not fell:
    return [*lead]
  counts = {
    reason.name: [sum(reason.name in names for names in group) for group in groups.values()]
    for reason in _REASONS
  }
  rows = []
  for reason in _REASONS:
    shares = [
      100 * count / total if total else None
      for count, total in zip(counts[reason.name], (fell, lost, rose, kept), strict=True)
    ]
    all_fallen, of_losing = counts[reason.name][:2]
    rows.append((f"{reason.title}: {reason.text}", all_fallen, shares[0], of_losing, *shares[1:]))
  without = sum(not names for names in groups["fell"])
  columns = [
    Column("reason", help="what holds of the positive"),
    Column("fallen", None, "positives that fell and of which it holds"),
    Column("of the fallen, %", 0, f"of {fell}"),
    Column("fallen in losing queries", None, "the same in queries that lose AP, medium"),
    Column("of these, %", 0, f"of {lost}"),
    Column("of the risen, %", 0, f"of {rose}"),
    Column("of the others, %", 0, f"of {kept}, which kept their place"),
  ]
  note = (
    f"Several may hold of one positive; none holds of {without} of the fallen. A reason tells"
    " something as far as it is more frequent among the fallen than among the risen and the others."
  )
  table = Table("Why the embedding moves positives down", columns, rows, note)
  closing = _close(counts, fell, lost, rose)
  return [*lead, table, *([Text(closing)] if closing else [])]


def _define(ties: Sequence[QueryTies], search: str) -> str:
  """Says what the words of the section mean."""
  most = max((query.num_holders for query in ties), default=0)
  at_most = f", {most} at most" if most else ""
  return (
    "A negative is an image that is neither a positive nor junk. A positive falls where more"
    f" negatives stand before it in the embedding alone, w = 1, than in {search}. A query loses AP"
    " by the embedding where its positives that fall outweigh those that rise. A known pair is two"
    " images that the embedding is told are alike; of other pairs it is told nothing. The strength"
    " of a known pair is its share of the strongest one of the same query, from 0 to 1. The"
    f" query's nearest are the candidates with which it has a known pair{at_most}: they hold it"
    " where it lies, and another image comes near it by its own known pairs with them."
  )


def _close(counts: Mapping[str, Sequence[int]], fell: int, lost: int, rose: int) -> str | None:
  """Names the reason that is most special to the fallen, as far as the risen tell; else None."""
  if not rose:
    return None

  def ratio(reason: _Reason) -> float:
    fallen, _, risen, _ = counts[reason.name]
    return fallen * rose / (risen * fell) if risen else math.inf if fallen else 0.0

  first = max(_REASONS, key=ratio)
  if ratio(first) <= 1:
    return "No reason is more frequent among the fallen than among the risen."
  fallen, losing, risen, _ = counts[first.name]
  often = f", {ratio(first):.1f} times as often" if risen else ""
  return (
    f"Most special to the fallen is: {first.title} ({fallen} of {fell} fallen, {risen} of {rose}"
    f" risen{often})."
    + (f" In the losing queries it holds of {losing} of {lost} fallen positives." if lost else "")
  )


def summarize_query(query: QueryTies) -> str | None:
  """Says how many positives of a query the embedding moves down, and why; None without any."""
  if not query.positives:
    return None
  fallen = [own for own in query.positives if own.fall > 0]
  text = (
    f"{len(fallen)} of {words.count(len(query.positives), 'embedded positive')}"
    f" {words.verb(len(fallen), 'fall')}. The query's nearest:"
    f" {words.count(query.num_holders, 'image')}, of which {query.num_negative} negative."
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
  places = ", ".join(f"{name} {run.ranks(name, q)[image]}" for name in names)
  facts = [f"Rank: {places}."]
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
  closer = f"{words.count(own.num_closer, 'negative')} {words.verb(own.num_closer, 'have')}"
  nearest = f"the query's {query.num_holders} nearest"
  if not own.held:
    return f"No known pair with {nearest}; {closer} one."
  tied = f"One of {nearest}, strength" if own.is_holder else f"Strongest pair with {nearest}"
  return f"{tied} {own.held:.2f}; {closer} a stronger one."


def _tell_nearest(own: Ties) -> str:
  if not own.num_nearest:
    return "It has no known pair at all."
  negative = own.num_nearest_negative
  return f"{negative} of its own {own.num_nearest} nearest {words.verb(negative, 'are')} negative."


def _tell_overtaking(own: Ties) -> list[str]:
  """Says how the negatives that overtook a positive are tied, and of how many it is not known."""
  closer, linked = own.num_overtaking_closer, own.num_overtaking_linked
  rest = own.num_overtaking - closer - linked
  ways = [
    (closer, "{have} a stronger pair with the query's nearest"),
    (linked, "{have} a stronger tie to images that have a pair with these"),
  ]
  parts = [
    f"{number} {way.format(have=words.verb(number, 'have'))}" for number, way in ways if number
  ]
  if rest:
    parts.append(f"why the {'other ' if parts else ''}{rest} did, the page does not know")
  if not parts:
    return []
  return [f"{words.count(own.num_overtaking, 'negative')} overtook it: {'; '.join(parts)}."]
