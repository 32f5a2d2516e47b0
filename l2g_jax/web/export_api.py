"""The interface, as far as it hands out files to take away."""

from typing import Annotated, Literal

import fastapi
from fastapi.responses import Response

from l2g_jax.retriever.groups import GroupOptions
from l2g_jax.retriever.groups.options import GroupKind
from l2g_jax.web import exports, group_answers
from l2g_jax.web.asked import Box, Mirror, Mirrors, Turn, read_query
from l2g_jax.web.failures import UNAVAILABLE, Refusal
from l2g_jax.web.searching import Query
from l2g_jax.web.services import Services

Format = Literal["csv", "json", "sheet", "html", "pairs"]
GroupFormat = Literal["csv", "json", "pairs"]
_FILES = {
  "csv": ("csv", "text/csv; charset=utf-8"),
  "json": ("json", "application/json"),
  "sheet": ("png", "image/png"),
  "html": ("html", "text/html; charset=utf-8"),
  "pairs": ("txt", "text/plain; charset=utf-8"),
}


def router(services: Services) -> fastapi.APIRouter:
  """Returns the routes."""
  routes = fastapi.APIRouter(prefix="/api")

  @routes.get("/export", response_class=Response)
  async def export(
    picture: str,
    format: Format,
    box: Box = None,
    turn: Turn = 0,
    mirror: Mirror = False,
    limit: Annotated[int, fastapi.Query(ge=1, le=1000)] = 100,
  ) -> Response:
    """The best results as a file: CSV, JSON, a contact sheet, a page, or pairs for COLMAP."""
    query = read_query(services.pictures, picture, box, turn, mirror=mirror)
    content = await services.turns.run(lambda: _export(services, query, format, limit))
    return _attachment("pairs" if format == "pairs" else "search", format, content)

  @routes.get("/groups/export", response_class=Response)
  def export_groups(
    format: GroupFormat, mirrors: Mirrors = False, kind: GroupKind = "duplicates"
  ) -> Response:
    """The groups as a file, once they were found."""
    grouped, _ = services.groupings.get(GroupOptions(kind=kind, mirrors=mirrors))
    if grouped is None or grouped.groups is None:
      raise Refusal(UNAVAILABLE, "The groups are still being looked for; try again later.")
    root = services.keeper.collection.images
    if format == "csv":
      content = group_answers.table(grouped.groups, root)
    elif format == "json":
      content = group_answers.document(grouped.groups)
    else:
      content = group_answers.pairs(grouped.groups, root)
    return _attachment("pairs" if format == "pairs" else "groups", format, content)

  return routes


def _export(services: Services, query: Query, format: Format, limit: int) -> str | bytes:
  search = services.searches.search(query)
  results = search.results.images[:limit]
  match format:
    case "csv":
      return exports.table(search, results, services.searches.overlaps(search, results))
    case "json":
      return exports.document(search, results, services.searches.overlaps(search, results))
    case "sheet":
      file = services.pictures.file(query.picture, query.turn, mirror=query.mirror)
      return exports.sheet(search, results, file)
    case "html":
      overlaps = services.searches.overlaps(search, results)
      return exports.page(search, results, overlaps, services.pictures)
    case "pairs":
      return exports.pairs(search, results)


def _attachment(stem: str, format: Format, content: str | bytes) -> Response:
  ending, media_type = _FILES[format]
  headers = {"Content-Disposition": f'attachment; filename="{stem}.{ending}"'}
  return Response(content, media_type=media_type, headers=headers)
