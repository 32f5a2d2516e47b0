"""The interface, as far as it is about pictures: what there is, and what is sent."""

from typing import Annotated, Any
from urllib.parse import unquote

import anyio.to_thread
import fastapi
from fastapi.responses import Response

from l2g_jax.data.image_names import printable
from l2g_jax.version import __version__
from l2g_jax.web import left_out, schemas
from l2g_jax.web.asked import Mirror, Offset, Turn, check_turn
from l2g_jax.web.decoding import Facts
from l2g_jax.web.failures import BAD_REQUEST, Refusal
from l2g_jax.web.found import Picture, image_id
from l2g_jax.web.pictures import SIDES
from l2g_jax.web.services import Services

_JPEG: dict[int | str, dict[str, Any]] = {
  200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}}
}
_Side = Annotated[int, fastapi.Query(json_schema_extra={"enum": list(SIDES)})]
_BODY = {
  "requestBody": {
    "required": True,
    "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}},
  }
}


def router(services: Services) -> fastapi.APIRouter:
  """Returns the routes."""
  routes = fastapi.APIRouter(prefix="/api")
  keeper, pictures = services.keeper, services.pictures

  @routes.get("/status")
  async def status() -> schemas.StatusAnswer:
    """How the collection stands, and what goes on."""
    now = keeper.status()
    return schemas.StatusAnswer(
      **vars(now),
      folder=printable(str(keeper.collection.images)),
      num_left_out=left_out.count(keeper),
      version=__version__,
      upload_bytes=services.limits.upload_bytes,
      upload_pixels=services.limits.pixels,
    )

  @routes.get("/images")
  def images(
    offset: Offset = 0,
    limit: Annotated[int, fastapi.Query(ge=1, le=1000)] = 60,
    text: str = "",
  ) -> schemas.ImagesAnswer:
    """The pictures in the folder, by name; `text` keeps those whose name holds it."""
    wanted = text.casefold()
    kept = [picture for picture in pictures.present() if wanted in picture.name.casefold()]
    unreadable = set(map(image_id, keeper.unreadable()))
    return schemas.ImagesAnswer(
      total=len(kept),
      num_unreadable=sum(picture.id in unreadable for picture in kept),
      images=[
        schemas.ImageAnswer(picture.id, picture.name) for picture in kept[offset : offset + limit]
      ],
    )

  @routes.get("/images/{key}")
  async def image(key: str) -> schemas.FactsAnswer:
    """A picture of the folder, or one that was sent."""
    found = pictures.find(key)
    facts = await anyio.to_thread.run_sync(pictures.facts, found, limiter=services.decoding)
    return _facts_answer(found, facts)

  @routes.get("/pictures/{key}", response_class=Response, responses=_JPEG)
  async def picture(
    request: fastapi.Request, key: str, side: _Side = 256, turn: Turn = 0, mirror: Mirror = False
  ) -> Response:
    """A JPEG of a picture, at most `side` pixels long; turned clockwise, then mirrored."""
    if side not in SIDES:
      raise Refusal(BAD_REQUEST, f"side must be one of {', '.join(map(str, SIDES))}.")
    check_turn(turn)
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

  @routes.post("/uploads", openapi_extra=_BODY)
  async def upload(
    request: fastapi.Request, x_file_name: Annotated[str, fastapi.Header()] = ""
  ) -> schemas.FactsAnswer:
    """Takes a picture to search for: the body is the file; `X-File-Name` is percent-encoded."""
    declared = request.headers.get("content-length", "")
    received = await services.uploads.receive(
      request.stream(), int(declared) if declared.isdecimal() else None, unquote(x_file_name)
    )
    found, facts = await anyio.to_thread.run_sync(
      services.uploads.keep, received, limiter=services.decoding
    )
    return _facts_answer(found, facts)

  @routes.get("/left_out")
  def files_left_out() -> schemas.LeftOutAnswer:
    """The files that are not searched, each with the reason."""
    found = left_out.files_of(keeper)
    return schemas.LeftOutAnswer([schemas.LeftOutFile(*file) for file in found])

  return routes


def _facts_answer(picture: Picture, facts: Facts) -> schemas.FactsAnswer:
  return schemas.FactsAnswer(
    picture.id, picture.name, facts.width, facts.height, picture.stamp[0], list(facts.notes)
  )
