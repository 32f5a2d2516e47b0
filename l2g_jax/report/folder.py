"""The folder of a report: a page that opens from the disk, and all its figures as JSON and CSV.

`report.json` lists the files of the folder and is the first to be written, so that a report whose
writer was killed is known as ours; the page is the last.
"""

import os
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from l2g_jax.errors import InputError
from l2g_jax.report import browser_page, page, spreadsheet
from l2g_jax.report.blocks import Browser, Column, Section, Table
from l2g_jax.runtime import files

_KIND = "l2g_jax.report"
_VERSION = 1
_DATA = "report.json"
_PAGE = "index.html"
# What may be removed of an earlier report.
_NAMES = re.compile(r"index\.html|[a-z0-9-]+\.csv|pictures/[a-z0-9-]+\.jpg")


def write_report(
  folder: os.PathLike | str,
  title: str,
  sections: Sequence[Section],
  *,
  data: Mapping[str, Any],
  fingerprint: Mapping[str, Any],
  notice: str | None = None,
) -> None:
  """Writes a report: `index.html`, its pictures, `report.json`, and a CSV for every table.

  Each file is whole or absent, and the page is the last. An earlier report in the folder is
  replaced, also one whose writer was killed; files that are not of a report are never touched.

  Args:
    folder: of the report; made where it is not there.
    title: of the page.
    sections: of the page, in order.
    data: all figures as JSON, for other programs.
    fingerprint: what the figures were made from, as JSON; see `fingerprint`.
    notice: shown above everything; None = nothing is.

  Raises:
    InputError: the folder holds other files, or is none.
    OSError: the disk is full or can't be written.
  """
  folder = pathlib.Path(folder)
  check_folder(folder)
  folder.mkdir(parents=True, exist_ok=True)
  notice_of_wait = f"{folder} is being written by another process; waiting for it."
  with files.locked(folder, refusal=None, notice=notice_of_wait):
    tables = _name_tables(sections)
    data_files = [_DATA, *tables]
    text = page.render(title, sections, fingerprint=fingerprint, notice=notice, files=data_files)
    pictures: dict[str, bytes] = {}
    for key, browser in page.browsers(sections).items():
      pictures |= browser_page.picture_files(browser, key)
    names = [_PAGE, *tables, *pictures]
    _clear(folder, names)
    # Until it is written anew nobody takes the rest for a whole report.
    (folder / _PAGE).unlink(missing_ok=True)
    body = {"title": title, "notice": notice, "fingerprint": dict(fingerprint), "data": dict(data)}
    files.write_manifest(
      folder / _DATA, {"kind": _KIND, "version": _VERSION, "files": names, **body}
    )
    for name, table in tables.items():
      _write_csv(folder / name, table)
    for name, content in pictures.items():
      _write_picture(folder / name, content)
    with files.atomic_path(folder / _PAGE) as temporary:
      temporary.write_text(text, encoding="utf-8")


def check_folder(folder: os.PathLike | str) -> None:
  """Refuses, before the work, a folder whose files are not of a report.

  Raises:
    InputError: it holds other files, or is none.
  """
  folder = pathlib.Path(folder)
  if folder.exists() and not folder.is_dir():
    raise InputError(f"{folder} is a file; name a folder for the report.")
  if not folder.is_dir() or _ours(folder) is not None:
    return
  if any(not _is_leftover(path) for path in folder.iterdir()):
    raise InputError(f"{folder} holds files that are no report, so they stay; name another folder.")


def _is_leftover(path: pathlib.Path) -> bool:
  return path.name in (files.LOCK, f".{_DATA}.l2g")


def _ours(folder: pathlib.Path) -> list[str] | None:
  """Returns the names of the files of the report in a folder; None where there is no report."""
  try:
    manifest = files.read_manifest(folder / _DATA)
  except InputError:
    return None
  return manifest["files"] if manifest.get("kind") == _KIND else None


def _clear(folder: pathlib.Path, names: Sequence[str]) -> None:
  """Removes the files of an earlier report that the new one lacks; refuses those of others."""
  ours = _ours(folder) or []
  for name in names:
    if name not in ours and (folder / name).exists():
      raise InputError(f"{folder / name} is no file of a report, so it stays; name another folder.")
  for name in filter(_NAMES.fullmatch, set(ours) - set(names)):
    (folder / name).unlink(missing_ok=True)


def _name_tables(sections: Sequence[Section]) -> dict[str, Table]:
  """Returns the tables by the names of their files."""
  named: dict[str, Table] = {}
  for table in _tables(sections):
    slug = re.sub(r"[^a-z0-9]+", "-", table.title.lower()).strip("-") or "table"
    number, name = 1, f"{slug}.csv"
    while name in named:
      number, name = number + 1, f"{slug}-{number + 1}.csv"
    named[name] = table
  return named


def _tables(sections: Sequence[Section]) -> Iterator[Table]:
  for section in sections:
    for block in section.blocks:
      if isinstance(block, Table):
        yield block
      elif isinstance(block, Browser):
        yield from _browser_tables(block)


def _browser_tables(browser: Browser) -> Iterator[Table]:
  """Yields the lists of all queries as a table, and the ranks of all positives."""
  names = ("query", "list", "rank", "image", "label", "score", "change")
  rows = [
    (
      query.picture.name,
      name,
      place + 1,
      browser.images[result.image].name,
      result.label,
      result.score,
      result.change,
    )
    for query in browser.queries
    for name, results in query.lists.items()
    for place, result in enumerate(results)
  ]
  yield Table(browser.title, [Column(name) for name in names], rows)
  names = ("query", "image", "label", *browser.stages)
  positives = [
    (query.picture.name, browser.images[image].name, label, *ranks)
    for query in browser.queries
    for image, label, ranks in query.positives
  ]
  yield Table(f"{browser.title} positives", [Column(name) for name in names], positives)


def _write_picture(path: pathlib.Path, content: bytes) -> None:
  """Writes a picture, unless it is there already: an interrupted report goes on."""
  if path.is_file() and path.read_bytes() == content:
    return
  path.parent.mkdir(exist_ok=True)
  with files.atomic_path(path) as temporary:
    temporary.write_bytes(content)


def _write_csv(path: pathlib.Path, table: Table) -> None:
  with (
    files.atomic_path(path) as temporary,
    temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
  ):
    spreadsheet.write_csv(file, [column.name for column in table.columns], table.rows)
