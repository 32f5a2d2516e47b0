"""What stands before every request: who may ask, from where, and what a browser may do with it.

A page that is open in the same browser must not reach the server: not by a name that it has pointed
at this machine (the header Host), nor by a form or script of its own (Origin, Sec-Fetch-Site).
"""

import hmac
import json
from collections.abc import Mapping
from http import cookies
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "l2g_token"
LOOPBACK = ("localhost", "127.0.0.1", "::1")
API = "/api/"

_POLICY = "; ".join(
  [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' blob:",
    "connect-src 'self'",
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
  ]
)
HEADERS = {
  "Content-Security-Policy": _POLICY,
  "X-Content-Type-Options": "nosniff",
  "Referrer-Policy": "no-referrer",
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Resource-Policy": "same-origin",
}
_SAFE = ("GET", "HEAD", "OPTIONS")
_ADVICE = "add ?token=... to the address, as the server printed it"


class Guard:
  """Refuses requests that are not from a user of the pages, and sets the headers of all answers."""

  def __init__(self, app: ASGIApp, *, token: str | None, hosts: tuple[str, ...] | None):
    """Stands before an application.

    Args:
      app: the application.
      token: that every request must have, once in its address, then as a cookie, or as
        `Authorization: Bearer`; None = none is needed.
      hosts: names by which the server may be called; None = any.
    """
    self._app, self._token, self._hosts = app, token, hosts

  async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
    """Answers a request, or hands it on."""
    if scope["type"] != "http":
      if scope["type"] == "lifespan":
        await self._app(scope, receive, send)
      return
    is_api = scope["path"].startswith(API)

    async def send_guarded(message: Message) -> None:
      if message["type"] == "http.response.start":
        headers = MutableHeaders(scope=message)
        for name, value in HEADERS.items():
          headers[name] = value
        if is_api:
          headers.setdefault("Cache-Control", "no-store")
      await send(message)

    headers = Headers(scope=scope)
    refusal = self._refusal(scope, headers, is_api=is_api)
    if refusal is not None:
      await _answer(send_guarded, refusal[0], {}, {"detail": refusal[1]})
      return
    if self._token is not None:
      given = dict(parse_qsl(scope["query_string"].decode("latin-1"))).get("token")
      if given is not None and _equal(given, self._token):
        if scope["method"] in _SAFE:
          await _answer(send_guarded, 303, _welcome(scope, self._token))
          return
      elif not self._knows(headers):
        sentence = f"This server wants its token: {_ADVICE}."
        challenge = {"WWW-Authenticate": "Bearer"}
        await _answer(send_guarded, 401, challenge, {"detail": sentence})
        return
    await self._app(scope, receive, send_guarded)

  def _refusal(self, scope: Scope, headers: Headers, *, is_api: bool) -> tuple[int, str] | None:
    """Returns why a request is refused whatever it asks for; None where it is not."""
    host = headers.get("host", "")
    if self._hosts is not None and _name_of(host) not in self._hosts:
      return 421, "The server answers to localhost alone; start it with --host to allow others."
    site = headers.get("sec-fetch-site", "none")
    if is_api and site not in ("none", "same-origin"):
      return 403, "Another site may not use this interface."
    if scope["method"] not in _SAFE:
      origin = headers.get("origin")
      if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
        return 403, "Another site may not change anything here."
    return None

  def _knows(self, headers: Headers) -> bool:
    """Returns whether a request has the token in its cookie or header."""
    assert self._token is not None
    scheme, _, given = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and _equal(given.strip(), self._token):
      return True
    try:
      jar = cookies.SimpleCookie(headers.get("cookie", ""))
    except cookies.CookieError:
      return False
    return COOKIE in jar and _equal(jar[COOKIE].value, self._token)


def _equal(given: str, token: str) -> bool:
  return hmac.compare_digest(given.encode(), token.encode())


def _name_of(host: str) -> str:
  """Returns the name in a header Host, without port and brackets; empty where it is none."""
  try:
    return urlsplit(f"//{host}").hostname or ""
  except ValueError:
    return ""


def _welcome(scope: Scope, token: str) -> dict[str, str]:
  """Returns the headers that hand out the cookie, and lead to the address without the token."""
  query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
  rest = urlencode([(name, value) for name, value in query if name != "token"])
  path = scope.get("raw_path", scope["path"].encode()).decode("latin-1")
  # An address that begins with two slashes is that of another server.
  path = "/" + path.lstrip("/\\")
  jar = cookies.SimpleCookie()
  jar[COOKIE] = token
  jar[COOKIE]["httponly"] = True
  jar[COOKIE]["samesite"] = "Strict"
  jar[COOKIE]["path"] = "/"
  return {
    "Location": f"{path}?{rest}" if rest else path,
    "Set-Cookie": jar[COOKIE].OutputString(),
    "Cache-Control": "no-store",
  }


async def _answer(
  send: Send, status: int, headers: Mapping[str, str], body: Mapping[str, str] | None = None
) -> None:
  content = b"" if body is None else json.dumps(body).encode()
  raw = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
  raw += [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
  await send({"type": "http.response.start", "status": status, "headers": raw})
  await send({"type": "http.response.body", "body": content})
