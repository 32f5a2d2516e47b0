"""The interface of the web: every route answers with JSON, unless it says otherwise."""

from typing import Annotated, Literal
from urllib.parse import unquote

import anyio.to_thread
import fastapi
from fastapi import Query
from fastapi.responses import Response

from l2g_jax.data.image_names import printable
from l2g_jax.version import __version__
from l2g_jax.web import left_out, schemas
from l2g_jax.web.failures import BAD_REQUEST, Refusal
from l2g_jax.web.searching import Overlap, Search, parse_box
from l2g_jax.web.searching import Query as SearchQuery
from l2g_jax.web.services import Services

Offset = Annotated[int, Query(ge=0)]
Turn = Literal[0, 90, 180, 270]
Side = Literal[256, 1024, 2048]
_MOST_LINES = 200


def router(services: Services) -> fastapi.APIRouter:
  """Returns the routes below `/api`."""
  routes = fastapi.APIRouter(prefix="/api")
  keeper, pictures = services.keeper, services.pictures

  async def heavily(function, *arguments):
    return await anyio.to_thread.run_sync(function, *arguments, limiter=services.heavy)

  def read_query(
    picture: str,
    box: str | None = None,
    turn: Annotated[int, Query(json_schema_extra={"enum": [0, 90, 180, 270]})] = 0,
    mirror: bool = False,
  ) -> SearchQuery:
    if turn not in (0, 90, 180, 270):
      raise Refusal(BAD_REQUEST, "turn must be 0, 90, 180 or 270.")
    return SearchQuery(pictures.find(picture), parse_box(box), turn, mirror)

  Asked = Annotated[SearchQuery, fastapi.Depends(read_query)]

  @routes.get("/status")
  async def status() -> schemas.StatusAnswer:
    """How the collection stands, and what goes on."""
    now = keeper.status()
    return schemas.StatusAnswer(
      folder=printable(str(keeper.collection.images)),
      **{name: getattr(now, name) for name in vars(now)},
      num_left_out=len(left_out.files_of(keeper)),
      version=__version__,
      upload_bytes=services.limits.upload_bytes,
      upload_pixels=services.limits.pixels,
    )

  @routes.get("/images")
  def images(
    offset: Offset = 0, limit: Annotated[int, Query(ge=1, le=1000)] = 60, text: str = ""
  ) -> schemas.ImagesAnswer:
    """The pictures in the folder, by name; `text` keeps those whose name holds it."""
    found = keeper.found().pictures.values()
    wanted = text.casefold()
    kept = [picture for picture in found if wanted in picture.name.casefold()]
    page = kept[offset : offset + limit]
    return schemas.ImagesAnswer(len(kept), [schemas.image_answer(picture) for picture in page])

  @routes.get("/images/{key}")
  async def image(key: str) -> schemas.FactsAnswer:
    """A picture of the folder, or one that was sent."""
    picture = pictures.find(key)
    facts = await anyio.to_thread.run_sync(pictures.facts, picture, limiter=services.decoding)
    return schemas.FactsAnswer(
      picture.id, picture.name, facts.width, facts.height, picture.stamp[0], list(facts.notes)
    )

  @routes.get("/pictures/{key}", response_class=Response, responses={200: {"content": _JPEG}})
  async def picture(
    request: fastapi.Request,
    key: str,
    side: Annotated[int, Query(json_schema_extra={"enum": [256, 1024, 2048]})] = 256,
    turn: int = 0,
    mirror: bool = False,
  ) -> Response:
    """A JPEG of a picture, at most `side` pixels long; turned clockwise and then mirrored."""
    if side not in (256, 1024, 2048) or turn not in (0, 90, 180, 270):
      raise Refusal(
        BAD_REQUEST, "side must be 256, 1024 or 2048, and turn 0, 90, 180 or 270."
      )
    found = pictures.find(key)
    tag = f'"{found.key}-{side}-{turn}-{int(mirror)}"'
    # A browser asks each time whether its copy is still good, which costs next to nothing.
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if tag in request.headers.get("if-none-match", ""):
      return Response(status_code=304, headers=headers)
    content = await anyio.to_thread.run_sync(
      lambda: pictures.reduced(found, side, turn, mirror=mirror), limiter=services.decoding
    )
    return Response(content, media_type="image/jpeg", headers=headers)

  @routes.post("/uploads", status_code=200)
  async def upload(
    request: fastapi.Request, x_file_name: Annotated[str, fastapi.Header()] = ""
  ) -> schemas.FactsAnswer:
    """Takes a picture to search for: the body is the file; `X-File-Name` is percent-encoded."""
    declared = request.headers.get("content-length")
    received = await services.uploads.receive(
      request.stream(), int(declared) if declared else None, unquote(x_file_name)
    )
    found, facts = await anyio.to_thread.run_sync(
      services.uploads.keep, received, limiter=services.decoding
    )
    return schemas.FactsAnswer(
      found.id, found.name, facts.width, facts.height, found.stamp[0], list(facts.notes)
    )

  @routes.get("/search")
  async def search(
    query: Asked, offset: Offset = 0, limit: Annotated[int, Query(ge=1, le=200)] = 30
  ) -> schemas.SearchAnswer:
    """Searches for a picture, or for the part of it in the box."""

    def run() -> schemas.SearchAnswer:
      done = services.searches.search(query)
      page = done.results.images[offset : offset + limit]
      return _search_answer(done, page, services.searches.overlaps(done, page))

    return await heavily(run)

  @routes.get("/compare")
  async def compare(query: Asked, image: str) -> schemas.CompareAnswer:
    """What the query and an image of the collection share."""
    name = _name_of(services, image)

    def run() -> schemas.CompareAnswer:
      return _compare_answer(services.searches.overlap(services.searches.search(query), name))

    return await heavily(run)

  @routes.get("/left_out")
  def files_left_out() -> schemas.LeftOutAnswer:
    """The files that are not searched, each with the reason."""
    return schemas.LeftOutAnswer(
      [schemas.LeftOutFile(*file) for file in left_out.files_of(keeper)]
    )

  return routes


_JPEG = {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}


def _name_of(services: Services, key: str) -> str:
  """Returns the name in the collection of an image with an identifier."""
  services.pictures.find(key)
  state = services.keeper.state()
  names = {} if state is None else dict(zip(state.ids, state.retriever.names, strict=True))
  return names.get(key, "")


def _search_answer(done: Search, page, overlaps) -> schemas.SearchAnswer:
  results = done.results
  return schemas.SearchAnswer(
    generation=done.state.generation,
    num_images=results.num_images,
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
  lines = overlap.lines[:: -(-len(overlap.lines) // _MOST_LINES) or 1]
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
