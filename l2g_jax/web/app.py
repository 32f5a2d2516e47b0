"""The application: its parts, put together for one collection."""

import contextlib
from collections.abc import AsyncIterator

import anyio
import fastapi
from fastapi.responses import JSONResponse

from l2g_jax.runtime.workers import available_cores
from l2g_jax.version import __version__
from l2g_jax.web import export_api, pages, picture_api, search_api
from l2g_jax.web.decoders import Decoders
from l2g_jax.web.failures import Refusal
from l2g_jax.web.grouping import Groupings
from l2g_jax.web.keeper import Collection, Keeper
from l2g_jax.web.limits import Limits
from l2g_jax.web.pictures import Pictures
from l2g_jax.web.searching import Searches
from l2g_jax.web.security import LOOPBACK, Guard
from l2g_jax.web.services import Services
from l2g_jax.web.turns import Turns
from l2g_jax.web.uploads import Uploads

# Everything of the web's own lies in a folder of this name beside what was made of the collection.
FOLDER = "web"
# Decoding waits for the disk now and then.
_MOST_DECODERS = 4


def create_app(
  collection: Collection | Keeper,
  *,
  token: str | None = None,
  hosts: tuple[str, ...] | None = LOOPBACK,
  limits: Limits = Limits(),
) -> fastapi.FastAPI:
  """Returns the application of a folder; it follows the folder from its start to its end.

  Args:
    collection: the folder, or the keeper of one.
    token: that every request must have, see `security.Guard`; None = none is needed.
    hosts: names by which the server may be called; None = any, which needs a token.
    limits: of what is taken in and kept.
  """
  keeper = collection if isinstance(collection, Keeper) else Keeper(collection)
  root = keeper.collection.directory / FOLDER
  decoders = Decoders(min(_MOST_DECODERS, available_cores()), limits.decode_seconds)
  uploads = Uploads(root / "uploads", decoders, limits)
  pictures = Pictures(root, keeper, uploads, decoders, limits)
  services = Services(
    keeper=keeper,
    uploads=uploads,
    pictures=pictures,
    searches=Searches(keeper, pictures),
    groupings=Groupings(keeper),
    limits=limits,
    turns=Turns(available_cores()),
    decoding=anyio.CapacityLimiter(2 * _MOST_DECODERS),
  )

  @contextlib.asynccontextmanager
  async def lifespan(app: fastapi.FastAPI) -> AsyncIterator[None]:
    del app
    keeper.start()
    try:
      yield
    finally:
      keeper.stop()
      decoders.close()

  # The interactive pages of FastAPI load their scripts from elsewhere.
  app = fastapi.FastAPI(
    title="l2g_jax",
    description="Searches a folder of photographs for the part that one points at.",
    version=__version__,
    docs_url=None,
    redoc_url=None,
    lifespan=lifespan,
  )
  app.state.services = services
  app.add_exception_handler(Refusal, _refuse)
  app.add_exception_handler(fastapi.exceptions.RequestValidationError, _refuse_values)
  for part in (picture_api, search_api, export_api):
    app.include_router(part.router(services))
  app.include_router(pages.router())
  app.add_middleware(Guard, token=token, hosts=hosts)
  return app


def _refuse(request: fastapi.Request, error: Exception) -> JSONResponse:
  del request
  assert isinstance(error, Refusal)
  return JSONResponse({"detail": error.sentence}, error.status)


def _refuse_values(request: fastapi.Request, error: Exception) -> JSONResponse:
  """Says in one sentence which value of a request is wrong."""
  del request
  assert isinstance(error, fastapi.exceptions.RequestValidationError)
  first = error.errors()[0]
  name = first["loc"][-1] if first["loc"] else "the request"
  return JSONResponse({"detail": f"{name}: {first['msg']}."}, 422)
