"""Searches a folder of photographs for the subject of a photograph, or of a part of it.

  l2g search FOLDER PHOTO [--box=x1,y1,x2,y2] [--output=FILE.html]

Prints the best images with their rank in each stage, and draws them as a contact sheet. With
--json, --csv or --html the results alone are printed so, and the rest goes to the error output.
"""

import contextlib
import os
import pathlib
import sys
from typing import Any

import numpy as np
from absl import flags

from l2g_jax.cli import command, search_output
from l2g_jax.cli.command import Command, Group, Values
from l2g_jax.cli.feature_flags import FEATURES, read_features
from l2g_jax.cli.method_flags import METHOD, SEARCH, read_index_config, read_method_config
from l2g_jax.cli.search_output import FORMS, Form
from l2g_jax.cli.setting_errors import settings_as_flags
from l2g_jax.cli.work_flags import WORK, work_folder
from l2g_jax.data.image_formats import endings
from l2g_jax.data.image_names import printable
from l2g_jax.data.images import Box
from l2g_jax.data.photo_folders import describe_left_out, find_photographs, is_contact_sheet
from l2g_jax.errors import InputError
from l2g_jax.report.contact_sheet import Tile, save_contact_sheet
from l2g_jax.retriever import Result, Results, Retriever
from l2g_jax.retriever.photo_search import Query, read_query


def _define(values: flags.FlagValues) -> None:
  flags.DEFINE_string(
    "images", None, "Folder of photographs to search: the first word.", flag_values=values
  )
  flags.DEFINE_string(
    "query", None, "The photograph to search for: the second word.", flag_values=values
  )
  flags.DEFINE_string(
    "box", None, "The part of it to search for: x1,y1,x2,y2 in pixels.", flag_values=values
  )
  flags.DEFINE_integer("num_results", 23, "Results to show.", flag_values=values)
  flags.DEFINE_string(
    "contact_sheet",
    None,
    "PNG to draw; omitted: search.png in the work folder.",
    flag_values=values,
  )
  flags.DEFINE_string(
    "output",
    None,
    "File of the results: CSV or a page where it ends in .csv or .html, or else JSON; omitted:"
    " none.",
    flag_values=values,
  )
  for form in FORMS:
    flags.DEFINE_bool(form, False, f"Print the results as {form.upper()}.", flag_values=values)


def main(values: Values) -> None:
  """Searches, draws, prints."""
  printed = _printed_form(values)
  config = read_method_config(values)
  if values.num_results < 1:
    raise InputError(f"--num_results must be at least 1, not {values.num_results}.")
  if values.output:
    search_output.check(values.output)
  if values.contact_sheet:
    command.check_file(values.contact_sheet, is_contact_sheet)
    _check_ending(values.contact_sheet)
  box = _parse_box(values.box)
  # A query or a folder that can't be used is told before the work, and before a folder is made.
  query = read_query(pathlib.Path(values.query), box)
  find_photographs(values.images)
  features, index = read_features(values), read_index_config(values)
  with contextlib.redirect_stdout(sys.stderr) if printed else contextlib.nullcontext():
    with settings_as_flags():
      retriever = Retriever.open_or_build(
        values.images,
        work_folder(values),
        features=features,
        config=config,
        index=index,
        weight=values.w,
        num_candidates=values.k,
        seed=values.seed,
        verify=values.verify,
      )
    found = retriever.search(values.query, box, k=values.num_results)
    _leave(values, retriever, query, box, found, is_printed=printed is not None)
  if printed:
    print(search_output.render(printed, query, box, found, _more(retriever)), end="")


def _leave(
  values: Values,
  retriever: Retriever,
  query: Query,
  box: Box | None,
  found: Results,
  *,
  is_printed: bool,
) -> None:
  """Writes what is asked for, and prints the table; a sheet is drawn unless a form is printed."""
  if values.output:
    form = search_output.form_of(values.output)
    text = search_output.render(form, query, box, found, _more(retriever))
    search_output.write(values.output, text)
  _print_results(found)
  sheet = values.contact_sheet or (None if is_printed else retriever.directory / "search.png")
  if sheet:
    tiles = [Tile(result.path, _describe(result)) for result in found]
    save_contact_sheet(sheet, Tile(query.path, ["query", query.path.name]), box, tiles)
    print(f"\nContact sheet: {printable(str(sheet))}")
  if retriever.images.left_out:
    print(f"Left out of the search: {describe_left_out(retriever.images.left_out)}.")


def _more(retriever: Retriever) -> dict[str, Any]:
  """Returns what JSON tells beside the results."""
  left_out = retriever.images.left_out
  return {
    "left_out": {reason: len(paths) for reason, paths in left_out.items()},
    "seconds": retriever.watch.seconds,
  }


def _printed_form(values: Values) -> Form | None:
  """Returns the form that a flag asks to print; None where none does."""
  asked: list[Form] = [form for form in FORMS if values[form].value]
  if len(asked) > 1:
    raise InputError(f"--{asked[0]} and --{asked[1]} are two forms of what is printed; give one.")
  return asked[0] if asked else None


def _check_ending(path: os.PathLike | str) -> None:
  """Refuses a contact sheet whose format is not that of its ending."""
  ending = pathlib.Path(path).suffix
  if ending.lower() in endings() and ending.lower() != ".png":
    raise InputError(f"--contact_sheet is a PNG and must end in .png, not in {ending}.")


def _parse_box(text: str | None) -> Box | None:
  if text is None:
    return None
  try:
    left, top, right, bottom = (float(value) for value in text.split(","))
  except ValueError as error:
    raise InputError(f"--box must be x1,y1,x2,y2, not {text!r}.") from error
  if not (np.all(np.isfinite([left, top, right, bottom])) and left < right and top < bottom):
    raise InputError(f"--box {text} is empty or not finite; it is x1,y1,x2,y2 with x1 < x2.")
  return left, top, right, bottom


def _print_results(found: Results) -> None:
  print(f"\n{found.num_images} images, w = {found.weight:g}")
  print(f"{'rank':>5}{'score':>9}{'similarity':>12}{'chamfer':>9}{'global':>8}  name")
  for result in found:
    score = "-" if result.score is None else f"{result.score:.4f}"
    print(
      f"{result.rank:5}{score:>9}{result.similarity:12.5f}{result.ranks['chamfer']:9}"
      f"{result.ranks['global']:8}  {printable(result.name)}"
    )
  for remark in found.remarks:
    print(remark)


def _describe(result: Result) -> list[str]:
  score = "not re-ranked" if result.score is None else f"score {result.score:.3f}"
  return [
    f"{result.rank}. {result.name}",
    f"{score}, similarity {result.similarity:.4f}",
    f"chamfer {result.ranks['chamfer']}, global {result.ranks['global']}",
  ]


COMMAND = Command(
  "search",
  __doc__,
  [Group("Search", _define), FEATURES, SEARCH, METHOD, WORK],
  main,
  required=("images", "query"),
  words={"images": "FOLDER", "query": "PHOTO"},
  example="photos church.jpg --box=120,80,400,360",
)
