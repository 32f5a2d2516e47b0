"""What every experiment leaves: tables in the terminal, JSON by --output, a folder by --report."""

import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from absl import flags

from l2g_jax.cli import report_folder
from l2g_jax.cli.command import Group, Values, check_file
from l2g_jax.cli.report import describe_environment
from l2g_jax.report import Cell, Column, Section, Table, folder
from l2g_jax.runtime import files


def _define(values: flags.FlagValues) -> None:
  flags.DEFINE_string(
    "output", None, "JSON file of all figures; omitted: none.", flag_values=values
  )
  flags.DEFINE_string(
    "report",
    None,
    "Folder of a page with plots; omitted: none. It needs Matplotlib.",
    flag_values=values,
  )


OUTPUTS = Group("Output", _define)


def check_outputs(values: Values) -> None:
  """Refuses, before the work, a file or a folder that could not be written after it."""
  if values.output:
    check_file(values.output)
  report_folder.check(values)


def leave(
  values: Values,
  title: str,
  sections: Sequence[Section],
  *,
  data: Mapping[str, Any],
  fingerprint: Callable[[], Mapping[str, Any]],
  notice: str | None,
) -> dict[str, Any]:
  """Prints the tables of sections, and writes what the flags ask for.

  Args:
    values: the flags of `OUTPUTS`.
    title: of the experiment and its data set.
    sections: of the report.
    data: further figures as JSON.
    fingerprint: makes what a report says of its sources; called for a report alone.
    notice: a sentence that a reader must not miss; None = none.

  Returns:
    All figures as JSON.
  """
  if notice:
    print(f"\n{notice}")
  for table in tables_of(sections):
    print_table(table)
  figures = {
    "title": title,
    "notice": notice,
    "tables": {table.title: data_of(table) for table in tables_of(sections)},
    **data,
    "environment": describe_environment(),
  }
  if values.output:
    files.write_json(values.output, figures)
  if values.report:
    folder.write_report(
      values.report, title, sections, data=figures, fingerprint=fingerprint(), notice=notice
    )
    print(f"\nReport: {pathlib.Path(values.report) / 'index.html'}")
  return figures


def tables_of(sections: Sequence[Section]) -> Iterator[Table]:
  """Yields the tables of sections."""
  for section in sections:
    yield from (block for block in section.blocks if isinstance(block, Table))


def data_of(table: Table) -> dict[str, Any]:
  """Returns a table as JSON: the names of its columns, and its rows."""
  return {"columns": [column.name for column in table.columns], "rows": [*map(list, table.rows)]}


def print_table(table: Table) -> None:
  """Prints a table; a star stands behind the first cell of a marked row."""
  lines = [[column.name for column in table.columns]]
  for number, row in enumerate(table.rows):
    cells = [_text(cell, column) for cell, column in zip(row, table.columns, strict=True)]
    lines.append([cells[0] + (" *" if number in table.marked else ""), *cells[1:]])
  widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
  print(f"\n{table.title}")
  for first, *others in lines:
    padded = [text.rjust(width) for text, width in zip(others, widths[1:], strict=True)]
    print("  ".join([first.ljust(widths[0]), *padded]).rstrip())
  if table.note:
    print(table.note)


def _text(cell: Cell, column: Column) -> str:
  if cell is None:
    return "-"
  if isinstance(cell, float):
    return f"{cell:.4g}" if column.digits is None else f"{cell:.{column.digits}f}"
  return str(cell)
