"""The page of a report as HTML text.

It asks for nothing but its own pictures: script and style stand in the page, and its policy allows
these alone, by their checksums. Every word that is not ours is escaped.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from l2g_jax.report import browser_page, templates, words
from l2g_jax.report.blocks import (
  Block,
  Browser,
  Cell,
  Column,
  Plot,
  Section,
  Table,
  Terms,
  Text,
  is_missing,
)
from l2g_jax.report.templates import escape

# A table with more columns becomes cards where the window is narrow.
_MOST_NARROW = 4
# A table with no more rows is taken in at a glance, so it is not sorted.
_MOST_UNSORTED = 3


def render(
  title: str,
  sections: Sequence[Section],
  *,
  fingerprint: Mapping[str, Any],
  notice: str | None,
  files: Sequence[str],
) -> str:
  """Returns the page of a report; see `write_report`.

  Args:
    title: of the page.
    sections: of the page.
    fingerprint: shown at its end.
    notice: shown at its top; None = nothing is.
    files: the names of the data files beside it.
  """
  style, script = templates.style(), templates.read("page.js")
  parts, links, data = [], [], []
  keys = {id(browser): key for key, browser in browsers(sections).items()}
  for number, section in enumerate(sections):
    links.append(f'<a href="#section-{number}">{escape(section.title)}</a>')
    blocks = []
    for block in section.blocks:
      if isinstance(block, Browser):
        key = keys[id(block)]
        blocks.append(browser_page.render(block, key))
        data.append(browser_page.render_data(block, key))
      else:
        blocks.append(_render_block(block))
    body = "\n".join(blocks)
    parts.append(
      f'<section id="section-{number}">\n<h2>{escape(section.title)}</h2>\n{body}\n</section>'
    )
  links.append('<a href="#inputs">Inputs and files</a>')
  return templates.fill(
    "page.html",
    title=escape(title),
    notice="" if notice is None else f'<p class="notice">{escape(notice)}</p>',
    links="\n".join(links),
    sections="\n".join(parts),
    inputs=escape(_tell_inputs(fingerprint)),
    fingerprint="\n".join(_list_inputs(fingerprint)),
    settings="\n".join(_tabulate_settings(fingerprint)),
    files=", ".join(f'<a href="{escape(name)}">{escape(name)}</a>' for name in files),
    data="\n".join(data),
    style=style,
    script=script,
    style_hash=templates.checksum(style),
    script_hash=templates.checksum(script),
  )


def browsers(sections: Sequence[Section]) -> dict[str, Browser]:
  """Returns the browsers of a report by their identifiers on the page."""
  found = [block for section in sections for block in section.blocks if isinstance(block, Browser)]
  return {f"browser-{number}": browser for number, browser in enumerate(found)}


def _tell_inputs(fingerprint: Mapping[str, Any]) -> str:
  """Says what a fingerprint covers, and where two runs may be compared."""
  names = [
    name.replace("_", " ")
    for name, value in fingerprint.items()
    if name != "all" and not isinstance(value, Mapping)
  ]
  if "all" not in fingerprint or not names:
    return "What the figures were made from. Two runs may be compared where these agree."
  text = (
    f"The fingerprint, all, is one checksum of all inputs: {words.enumerate_names(names)}. Two runs"
    " may be compared where it agrees; where it does not, the lines below tell which input differs."
  )
  if "settings" not in fingerprint:
    return text
  return (
    f"{text} Settings, such as k and w, are not in it: compare them separately, under Settings."
  )


def _list_inputs(fingerprint: Mapping[str, Any]) -> list[str]:
  return [
    f"<dt>{escape(name.replace('_', ' '))}</dt><dd>{escape(_input_text(value))}</dd>"
    for name, value in fingerprint.items()
    if not isinstance(value, Mapping)
  ]


def _tabulate_settings(fingerprint: Mapping[str, Any]) -> list[str]:
  """Returns a table of every group of inputs, such as the settings."""
  columns = [Column("name"), Column("value")]
  return [
    _render_block(
      Table(
        name.replace("_", " ").capitalize(),
        columns,
        [*_list_settings(value)],
        "A dash: not given, so the library chooses it or does without.",
      )
    )
    for name, value in fingerprint.items()
    if isinstance(value, Mapping)
  ]


def _list_settings(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Cell]]:
  """Yields dotted names of settings and their values in words, sorted by name."""
  for name, value in sorted(settings.items()):
    if isinstance(value, Mapping) and value:
      yield from _list_settings(value, f"{prefix}{name}.")
    else:
      yield f"{prefix}{name}", None if value in (None, {}) else _input_text(value)


def _input_text(value: Any) -> str:
  return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _render_block(block: Block) -> str:
  if isinstance(block, Text):
    return f"<p>{escape(block.text)}</p>"
  if isinstance(block, Plot):
    svg = block.svg.replace("<svg", f'<svg role="img" aria-label="{escape(block.title)}"', 1)
    return (
      f"<h3>{escape(block.title)}</h3>\n<figure>{svg}\n"
      f'<figcaption class="note">{escape(block.note)}</figcaption></figure>'
    )
  if isinstance(block, Terms):
    items = "\n".join(
      f"<dt>{escape(term)}</dt><dd>{escape(meaning)}</dd>"
      for term, meaning in block.meanings.items()
    )
    return (
      f"<details><summary>{escape(block.title)}</summary>\n"
      f'<dl class="inputs terms">{items}</dl></details>'
    )
  assert isinstance(block, Table)
  return f"<h3>{escape(block.title)}</h3>\n{_render_table(block)}"


def _render_table(table: Table) -> str:
  numeric = [_is_numeric(table, number) for number in range(len(table.columns))]
  is_sortable = len(table.rows) > _MOST_UNSORTED
  heads = "".join(
    templates.render_head(
      column.name, is_number=is_number, help_text=column.help, is_sortable=is_sortable
    )
    for column, is_number in zip(table.columns, numeric, strict=True)
  )
  bests = {number: _greatest(table, number) for number in table.bests}
  rows = []
  for number, row in enumerate(table.rows):
    marked = ' class="marked"' if number in table.marked else ""
    link = table.links[number] if table.links else None
    cells = [
      _render_cell(
        cell,
        column,
        is_number,
        is_best=place in bests and _show(cell, column) == bests[place],
        is_head=place == 0,
        link=link if place == 0 else None,
      )
      for place, (cell, column, is_number) in enumerate(
        zip(row, table.columns, numeric, strict=True)
      )
    ]
    rows.append(f"<tr{marked}>{''.join(cells)}</tr>")
  kinds = " ".join(
    name
    for name, holds in (("sortable", is_sortable), ("cards", len(table.columns) > _MOST_NARROW))
    if holds
  )
  note = f'\n<p class="note">{escape(table.note)}</p>' if table.note else ""
  body = "\n".join(rows)
  return (
    f'<div class="scroll fits" tabindex="0" role="region" aria-label="{escape(table.title)}">'
    f'<table class="{kinds}"><thead><tr>{heads}</tr></thead>\n<tbody>{body}</tbody></table></div>'
    + note
  )


def _greatest(table: Table, number: int) -> str:
  """Returns the greatest value of a column as it is shown, so that equal ones are equal."""
  values = [row[number] for row in table.rows if not is_missing(row[number])]
  numbers = [value for value in values if isinstance(value, int | float)]
  return _show(max(numbers), table.columns[number]) if numbers else ""


def _render_cell(
  cell: Cell,
  column: Column,
  is_number: bool,
  *,
  is_best: bool,
  is_head: bool,
  link: str | None,
) -> str:
  text = escape(_show(cell, column))
  if link is not None:
    text = f'<a href="#{escape(link)}">{text}</a>'
  kinds = [name for name, holds in (("number", is_number), ("best", is_best)) if holds]
  kind = f' class="{" ".join(kinds)}"' if kinds else ""
  value = "" if is_missing(cell) else f' data-value="{escape(str(cell))}"'
  if is_head:
    return f'<th scope="row"{kind}{value}>{text}</th>'
  return f'<td{kind}{value} data-name="{escape(column.name)}">{text}</td>'


def _is_numeric(table: Table, number: int) -> bool:
  """Whether a column holds numbers alone."""
  return all(row[number] is None or isinstance(row[number], int | float) for row in table.rows)


def _show(cell: Cell, column: Column) -> str:
  if is_missing(cell):
    return "-"
  if isinstance(cell, float):
    return f"{cell:g}" if column.digits is None else f"{cell:.{column.digits}f}"
  return str(cell)
