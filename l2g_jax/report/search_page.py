"""The results of a search for one photograph as a page that is one file, pictures among it."""

import base64
from collections.abc import Sequence

from l2g_jax.data.images import Box
from l2g_jax.report import templates
from l2g_jax.report.blocks import Picture
from l2g_jax.report.pictures import QUERY_SIDE, read_picture
from l2g_jax.report.templates import escape
from l2g_jax.retriever import Result
from l2g_jax.retriever.photo_search import Query
from l2g_jax.runtime.threads import in_threads


def render(query: Query, box: Box | None, results: Sequence[Result], remarks: Sequence[str]) -> str:
  """Returns the page.

  Args:
    query: the photograph that was searched for.
    box: the part of it, x1, y1, x2, y2 in pixels; None = all of it.
    results: best first.
    remarks: sentences for the reader.
  """
  asked = read_picture(query.path.name, query.path, side=QUERY_SIDE)
  pictures = in_threads(lambda result: read_picture(result.name, result.path), results)
  style = templates.style()
  return templates.fill(
    "search.html",
    title=escape(f"Results for {query.path.name}"),
    remarks="\n".join(f"<p>{escape(remark)}</p>" for remark in remarks),
    query=_image(asked, f"Query {query.path.name}") + ("" if box is None else _frame(asked, box)),
    results="\n".join(
      _tile(result, picture) for result, picture in zip(results, pictures, strict=True)
    ),
    style=style,
    style_hash=templates.checksum(style),
  )


def _tile(result: Result, picture: Picture) -> str:
  score = "not re-ranked" if result.score is None else f"score {result.score:.3f}"
  lines = [
    result.name,
    f"{score}, similarity {result.similarity:.4f}",
    ", ".join(f"{stage} {rank}" for stage, rank in result.ranks.items()),
    *([result.copy] if result.copy else []),
  ]
  words = "".join(f"<span>{escape(line)}</span>" for line in lines)
  return (
    f'<li class="tile"><span class="photo">{_image(picture, result.name)}</span>'
    f'<span class="words"><span class="head">{result.rank}</span>{words}</span></li>'
  )


def _image(picture: Picture, text: str) -> str:
  height, width = picture.size
  content = base64.b64encode(picture.jpeg).decode()
  return (
    f'<img src="data:image/jpeg;base64,{content}" alt="{escape(text)}" width="{width}"'
    f' height="{height}">'
  )


def _frame(picture: Picture, box: Box) -> str:
  height, width = picture.size
  left, top, right, bottom = box
  place = f'x="{left:g}" y="{top:g}" width="{right - left:g}" height="{bottom - top:g}" fill="none"'
  strokes = "".join(
    f'<rect {place} vector-effect="non-scaling-stroke" stroke="{colour}" stroke-width="{line}"/>'
    for colour, line in (("#fff", 5), ("#d73c1e", 3))
  )
  return f'<svg viewBox="0 0 {width} {height}" aria-hidden="true">{strokes}</svg>'
