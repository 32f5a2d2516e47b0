"""What a report is made of: sections of tables, plots, texts and ranked lists."""

import dataclasses
from collections.abc import Sequence
from typing import TypeAlias

# A float is shown with the digits of its column; None is shown as a dash.
Cell: TypeAlias = str | float | int | None


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
    links: of each row the identifier on the page to which its first cell leads, such as `query-3`;
      empty = the rows lead nowhere.
  """

  title: str
  columns: Sequence[Column]
  rows: Sequence[Sequence[Cell]]
  note: str = ""
  marked: Sequence[int] = ()
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
class Section:
  """A part of a report, with a heading.

  Attributes:
    title: the heading.
    blocks: what it shows, in order.
  """

  title: str
  blocks: Sequence[Table | Plot | Text]
