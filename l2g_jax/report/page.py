"""The page of a report as HTML text; every word of others is escaped."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from l2g_jax.data.image_names import printable
from l2g_jax.report.blocks import Cell, Column, Plot, Section, Table, Text


def render(
  title: str, sections: Sequence[Section], *, fingerprint: Mapping[str, Any], notice: str | None
) -> str:
  """Returns the page of a report; see `write_report`."""
  parts = [f"<!doctype html><meta charset=utf-8><title>{_escape(title)}</title>"]
  parts.append(f"<h1>{_escape(title)}</h1>")
  if notice:
    parts.append(f"<p>{_escape(notice)}</p>")
  for section in sections:
    parts.append(f"<h2>{_escape(section.title)}</h2>")
    parts.extend(_render_block(block) for block in section.blocks)
  parts.append(f"<pre>{_escape(str(dict(fingerprint)))}</pre>")
  return "\n".join(parts)


def _render_block(block: Table | Plot | Text) -> str:
  if isinstance(block, Text):
    return f"<p>{_escape(block.text)}</p>"
  if isinstance(block, Plot):
    return f"<h3>{_escape(block.title)}</h3>{block.svg}<p>{_escape(block.note)}</p>"
  head = "".join(f"<th>{_escape(column.name)}</th>" for column in block.columns)
  rows = "\n".join(
    "<tr>"
    + "".join(
      f"<td>{_escape(_show(cell, column))}</td>"
      for cell, column in zip(row, block.columns, strict=True)
    )
    + "</tr>"
    for row in block.rows
  )
  return f"<h3>{_escape(block.title)}</h3><table><tr>{head}</tr>{rows}</table>"


def _show(cell: Cell, column: Column) -> str:
  if cell is None:
    return "-"
  if isinstance(cell, float) and column.digits is not None:
    return f"{cell:.{column.digits}f}"
  return str(cell)


def _escape(text: str) -> str:
  return html.escape(printable(text))
