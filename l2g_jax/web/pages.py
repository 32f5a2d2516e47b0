"""The pages of the browser: shells of HTML, and the style and scripts that fill them.

A shell holds no data: its script asks the interface for what it shows, as any other program would.
"""

import hashlib
from importlib import resources

import fastapi
import jinja2
from fastapi.responses import HTMLResponse, Response

from l2g_jax.report import templates
from l2g_jax.version import __version__

# Address and template of each page.
_PAGES = (
  ("/", "home.html"),
  ("/search", "search.html"),
  ("/compare", "compare.html"),
  ("/map", "map.html"),
  ("/groups", "groups.html"),
  ("/left-out", "left_out.html"),
)
_SERVED = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def router() -> fastapi.APIRouter:
  """Returns the routes of all pages and of `/assets/{name}`, to be included by the application."""
  routes = fastapi.APIRouter(include_in_schema=False)
  environment = jinja2.Environment(
    loader=jinja2.PackageLoader("l2g_jax.web", "assets"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
  )
  for address, name in _PAGES:
    _add_page(routes, address, environment.get_template(name).render(version=__version__))
  assets = _read_assets()

  @routes.get("/assets/{name}")
  def asset(name: str, request: fastapi.Request) -> Response:
    if name not in assets:
      raise fastapi.HTTPException(404, "There is no such file.")
    content, media_type, tag = assets[name]
    # A browser asks each time whether its copy is still good: scripts of two versions never mix.
    headers = {"Cache-Control": "no-cache", "ETag": tag}
    if request.headers.get("if-none-match") == tag:
      return Response(status_code=304, headers=headers)
    return Response(content, media_type=media_type, headers=headers)

  return routes


def _add_page(routes: fastapi.APIRouter, address: str, page: str) -> None:
  headers = {"Cache-Control": "no-cache"}

  @routes.get(address, response_class=HTMLResponse)
  def shell() -> HTMLResponse:
    return HTMLResponse(page, headers=headers)


def _read_assets() -> dict[str, tuple[bytes, str, str]]:
  """Returns content, media type and tag of every file that is served, by its name."""
  contents = {
    file.name: file.read_bytes()
    for file in resources.files("l2g_jax.web").joinpath("assets").iterdir()
  }
  contents["base.css"] = templates.read("base.css").encode()
  served = {}
  for name, content in contents.items():
    media_type = _SERVED.get(name[name.rfind(".") :])
    if media_type is not None:
      tag = f'"{hashlib.blake2b(content, digest_size=8).hexdigest()}"'
      served[name] = content, media_type, tag
  return served
