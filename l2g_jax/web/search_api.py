"""The interface, as far as it is about searches: results, comparison, map, groups."""

from collections.abc import Sequence
from typing import Annotated

import fastapi
from fastapi.responses import Response

from l2g_jax.data.image_names import printable
from l2g_jax.pipeline.plane import NUM_POINTS
from l2g_jax.retriever.groups import GroupOptions
from l2g_jax.retriever.groups.options import GroupKind
from l2g_jax.retriever.results import Result
from l2g_jax.web import charts, group_answers, schemas
from l2g_jax.web.asked import Box, Mirror, Mirrors, Offset, Turn, read_query
from l2g_jax.web.failures import NOT_FOUND, Refusal
from l2g_jax.web.searching import Overlap, Search
from l2g_jax.web.services import Services

_MOST_LINES = 200


def router(services: Services) -> fastapi.APIRouter:
  """Returns the routes."""
  routes = fastapi.APIRouter(prefix="/api")
  searches = services.searches

  @routes.get("/search")
  async def search(
    picture: str,
    box: Box = None,
    turn: Turn = 0,
    mirror: Mirror = False,
    offset: Offset = 0,
    limit: Annotated[int, fastapi.Query(ge=1, le=200)] = 30,
    regions: Annotated[bool, fastapi.Query(description="Whether results are matched.")] = True,
  ) -> schemas.SearchAnswer:
    """Searches for a picture, or for the part of it in the box.

    Results are kept: whoever asks without regions first, to show something sooner, and then with
    them, has the search done once.
    """
    query = read_query(services.pictures, picture, box, turn, mirror=mirror)

    done = await services.turns.run(lambda: searches.search(query))
    page = done.results.images[offset : offset + limit]
    overlaps: Sequence[Overlap | None] = [None] * len(page)
    if regions:
      # Those who have no results yet go first.
      overlaps = await services.turns.run(lambda: searches.overlaps(done, page), can_wait=True)
    return _search_answer(done, page, overlaps, services.keeper.num_expected())

  @routes.get("/compare")
  async def compare(
    picture: str, image: str, box: Box = None, turn: Turn = 0, mirror: Mirror = False
  ) -> schemas.CompareAnswer:
    """What the query and an image of the collection share."""
    query = read_query(services.pictures, picture, box, turn, mirror=mirror)

    def run() -> schemas.CompareAnswer:
      done = searches.search(query)
      number = done.state.numbers_by_id.get(image)
      if number is None:
        raise Refusal(NOT_FOUND, "There is no such picture in the collection.")
      return _compare_answer(searches.overlap(done, done.state.retriever.names[number]))

    return await services.turns.run(run)

  @routes.get("/map")
  async def chart(
    picture: str,
    box: Box = None,
    turn: Turn = 0,
    mirror: Mirror = False,
    limit: Annotated[int, fastapi.Query(ge=2, le=500)] = NUM_POINTS,
  ) -> schemas.MapAnswer:
    """The best results as a map: what is alike lies together."""
    query = read_query(services.pictures, picture, box, turn, mirror=mirror)
    return await services.turns.run(lambda: charts.make_map(searches.search(query), limit))

  @routes.get("/groups", responses={202: {"model": schemas.GroupsAnswer}})
  def groups(
    response: Response,
    mirrors: Mirrors = False,
    kind: GroupKind = "duplicates",
    offset: Offset = 0,
    limit: Annotated[int, fastapi.Query(ge=1, le=200)] = 20,
  ) -> schemas.GroupsAnswer:
    """Pictures that belong together, largest group first; the search for them starts by itself."""
    grouped, work = services.groupings.get(GroupOptions(kind=kind, mirrors=mirrors))
    if grouped is None or grouped.groups is None:
      response.status_code = 202
      return schemas.GroupsAnswer("working", work=work)
    found = grouped.groups.groups
    return schemas.GroupsAnswer(
      "ready",
      generation=grouped.state.generation,
      total=len(found),
      groups=[group_answers.answer(group) for group in found[offset : offset + limit]],
      work=work,
    )

  return routes


def _search_answer(
  done: Search, page: Sequence[Result], overlaps: Sequence[Overlap | None], num_expected: int
) -> schemas.SearchAnswer:
  results = done.results
  return schemas.SearchAnswer(
    generation=done.state.generation,
    num_images=done.state.num_readable,
    num_expected=num_expected,
    weight=results.weight,
    seconds=round(done.seconds, 3),
    remarks=list(results.remarks),
    total=len(results),
    results=[
      schemas.ResultAnswer(
        id=done.state.ids[done.state.numbers[result.name]],
        name=printable(result.name),
        rank=result.rank,
        score=result.score,
        similarity=result.similarity,
        ranks=dict(result.ranks),
        copy=result.copy,
        region=None if overlap is None else _points(overlap.region),
        inliers=0 if overlap is None else len(overlap.lines),
      )
      for result, overlap in zip(page, overlaps, strict=True)
    ],
  )


def _compare_answer(overlap: Overlap) -> schemas.CompareAnswer:
  # Lines of all parts of the picture, where there are too many.
  lines = overlap.lines[:: max(1, -(-len(overlap.lines) // _MOST_LINES))]
  return schemas.CompareAnswer(
    inliers=len(overlap.lines),
    lines=lines.round(5).tolist(),
    transform=None if overlap.transform is None else overlap.transform.tolist(),
    region=_points(overlap.region),
    query=schemas.SizeAnswer(overlap.query_size[1], overlap.query_size[0]),
    image=schemas.SizeAnswer(overlap.image_size[1], overlap.image_size[0]),
  )


def _points(corners) -> list[schemas.Point] | None:
  return None if corners is None else [tuple(corner) for corner in corners.round(5).tolist()]
