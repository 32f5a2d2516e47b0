"""What a report is made of: sections of tables, plots, texts and ranked lists."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np

# A float is shown with the digits of its column; None and NaN are shown as a dash.
Cell: TypeAlias = str | float | int | None

Label = Literal["easy", "hard", "junk", "negative"]


def is_missing(cell: Cell) -> bool:
  """Whether a cell has no value: None, or a float that is not a number."""
  return cell is None or cell != cell


@dataclasses.dataclass(frozen=True)
class Column:
  """A column of a table.

  Attributes:
    name: its heading.
    digits: behind the point of a float; None = as many as it needs.
    help: a sentence that explains the heading; empty = it needs none.
  """

  name: str
  digits: int | None = None
  help: str = ""


@dataclasses.dataclass(frozen=True)
class Table:
  """A table, which the page can sort by every column; it is also written as CSV.

  Attributes:
    title: its heading, and the name of its CSV.
    columns: c of them.
    rows: of c cells each.
    note: a sentence below it.
    marked: the numbers of the rows that stand out, such as that of a default.
    bests: the numbers of the columns whose greatest values stand out.
    links: of each row the identifier on the page to which its first cell leads, such as `query-3`;
      empty = the rows lead nowhere.
  """

  title: str
  columns: Sequence[Column]
  rows: Sequence[Sequence[Cell]]
  note: str = ""
  marked: Sequence[int] = ()
  bests: Sequence[int] = ()
  links: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class Plot:
  """A plot.

  Attributes:
    title: its heading.
    svg: as `plots` makes it.
    note: a sentence below it.
  """

  title: str
  svg: str
  note: str = ""


@dataclasses.dataclass(frozen=True)
class Text:
  """A paragraph of plain text."""

  text: str


@dataclasses.dataclass(frozen=True)
class Terms:
  """A glossary, which opens on demand.

  Attributes:
    title: its heading.
    meanings: by the term, in order.
  """

  title: str
  meanings: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Picture:
  """A photograph as a report shows it.

  Attributes:
    name: of the image.
    jpeg: the reduced picture as a file.
    size: height and width of the photograph itself, in pixels.
  """

  name: str
  jpeg: bytes
  size: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Result:
  """An image in a ranked list.

  Attributes:
    image: its number in `Browser.images`.
    label: its judgement.
    score: by which it came to its rank; None = it has none.
    change: places that it gained against the list of reference, below 0 where it fell; None = this
      is that list.
  """

  image: int
  label: Label
  score: float | None
  change: int | None


@dataclasses.dataclass(frozen=True)
class Fallen:
  """A positive that the last list moves down.

  Attributes:
    result: with its score in that list and the places that it lost.
    rank: in that list, from 1.
    reason: why it fell, in a few words; empty = none is known.
    facts: what was measured of it, a line each.
  """

  result: Result
  rank: int
  reason: str
  facts: Sequence[str]


@dataclasses.dataclass(frozen=True)
class Matches:
  """The matched key points of a query and an image that one transform explains.

  Attributes:
    count: how many there are.
    points: `[m, 4]` int, some of them: x, y in the query's photograph and x, y in the image, in
      thousandths of its width and height.
  """

  count: int
  points: np.ndarray


@dataclasses.dataclass(frozen=True)
class Query:
  """What the stages made of a query.

  Attributes:
    picture: its whole photograph.
    box: the part that was searched, x1, y1, x2, y2 in pixels; None = all of it.
    facts: short lines: a name, and the value in words.
    lists: by the name of the stage, its first results, best first.
    positives: of every positive its number in `Browser.images`, its label, and its rank in each of
      `Browser.stages`, from 1.
    matches: by the number of the image, for some of the results.
    fallen: positives that fell most, the deepest fall first.
  """

  picture: Picture
  box: tuple[float, float, float, float] | None
  facts: Sequence[tuple[str, str]]
  lists: Mapping[str, Sequence[Result]]
  positives: Sequence[tuple[int, Label, Sequence[int]]]
  matches: Mapping[int, Matches]
  fallen: Sequence[Fallen] = ()


@dataclasses.dataclass(frozen=True)
class Browser:
  """Ranked lists as pictures, one query at a time.

  Attributes:
    title: its heading.
    images: all that are shown; the queries share them.
    stages: the names of the stages, in order.
    reference: the name of the stage against which changes of rank count.
    queries: the identifier of the first on the page is `query-0`.
    orders: by name, the numbers of the queries in the order in which they are shown; the first one
      is taken at first.
    note: a sentence below the heading.
    scores: by the name of a stage, what its scores are, such as `cosine`.
    scales: by the names of `scores`, what they mean and how high they reach.
    least_matches: fewer matches tell nothing; None = no matches are shown.
  """

  title: str
  images: Sequence[Picture]
  stages: Sequence[str]
  reference: str
  queries: Sequence[Query]
  orders: Mapping[str, Sequence[int]]
  note: str = ""
  scores: Mapping[str, str] = dataclasses.field(default_factory=dict)
  scales: Mapping[str, str] = dataclasses.field(default_factory=dict)
  least_matches: int | None = None


Block: TypeAlias = Table | Plot | Text | Terms | Browser


@dataclasses.dataclass(frozen=True)
class Section:
  """A part of a report, with a heading.

  Attributes:
    title: the heading.
    blocks: what it shows, in order.
  """

  title: str
  blocks: Sequence[Block]
