"""Transfers a file by HTTP, and takes up a transfer that broke off.

pooch would bring checksums and the move into place, but begins a broken transfer anew, and an
archive has up to two gigabytes.
"""

import http.client
import os
import pathlib
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

from l2g_jax.errors import InputError
from l2g_jax.runtime import files, progress
from l2g_jax.runtime.progress import Meter
from l2g_jax.version import __version__

_CHUNK_BYTES = 1 << 20
_TIMEOUT_SECONDS = 60.0
# Waits before a broken transfer is resumed, one after another while no bytes come.
_DELAYS = (1.0, 2.0, 4.0, 8.0)


class _BrokenOffError(Exception):
  """A transfer that may be resumed; the message begins a sentence."""


def fetch(
  url: str,
  path: os.PathLike | str,
  *,
  delays: Sequence[float] = _DELAYS,
  show_progress: bool = False,
) -> None:
  """Downloads a file, which appears under its name once it has the announced size.

  The bytes that came are kept as `<path>.part`. The rest is asked for as long as the server says
  that the file is the same; otherwise the transfer begins anew.

  Args:
    url: http or https.
    path: the file to be.
    delays: seconds to wait before each attempt to resume; more bytes start the list anew.
    show_progress: whether to show a bar.

  Raises:
    InputError: a `<path>.part` is there that was not begun here.
    OSError: there is no such file or server, the transfer broke off too often, or the disk is full;
      the bytes that came are kept.
  """
  path = pathlib.Path(path)
  part = path.with_name(f"{path.name}.part")
  furthest, waits = _size(part), iter(())
  with Meter(path.name, unit=progress.BYTES, disabled=not show_progress) as meter:
    while True:
      try:
        _transfer(url, part, meter)
        break
      except _BrokenOffError as error:
        if _size(part) > furthest:
          furthest, waits = _size(part), iter(delays)
        wait = next(waits, None)
        if wait is None:
          raise ConnectionError(f"{error}; run the same command again to go on.") from error
        time.sleep(wait)
  part.replace(path)
  files.sync_directory(path.parent)
  _validator_path(part).unlink(missing_ok=True)


def _size(path: pathlib.Path) -> int:
  return path.stat().st_size if path.is_file() else 0


def _validator_path(part: pathlib.Path) -> pathlib.Path:
  return part.with_name(f"{part.name}.json")


def _read_validator(part: pathlib.Path, url: str) -> dict[str, Any] | None:
  """Reads which file a part belongs to; None if it can't be continued, or is of another address.

  Raises:
    InputError: no record says that the part was begun here; browsers use such names, too.
  """
  if not os.path.lexists(part) and not _validator_path(part).exists():
    return None
  try:
    known = files.read_manifest(_validator_path(part))
  except InputError as error:
    raise InputError(f"{part} was not begun here; move it away.") from error
  continues = known["validator"] and known["bytes"] is not None
  return known if continues and known["url"] == url else None


def _transfer(url: str, part: pathlib.Path, meter: Meter) -> None:
  """Asks for the missing rest of a file, and appends it to the part."""
  known = _read_validator(part, url)
  held = _size(part) if known else 0
  if known and held == known["bytes"]:
    return
  # A transfer that is compressed on its way can't be resumed.
  headers = {"User-Agent": f"l2g_jax/{__version__}", "Accept-Encoding": "identity"}
  if known and held:
    headers |= {"Range": f"bytes={held}-", "If-Range": known["validator"]}
  with _open(urllib.request.Request(url, headers=headers), part) as response:
    found = {"url": url, "validator": _validator(response.headers)}
    if response.status == http.HTTPStatus.PARTIAL_CONTENT:
      match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
      start, found["bytes"] = map(int, match.groups()) if match else (None, None)
      if start != held or found != known:
        _forget(part)
        raise _BrokenOffError(f"{url} changed while it was fetched")
    else:
      # There was no part, or the file has changed since.
      _forget(part)
      held = 0
      length = response.headers.get("Content-Length")
      found["bytes"] = None if length is None else int(length)
      files.write_manifest(_validator_path(part), found)
    total = found["bytes"]
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - held > free:
      raise OSError(f"{url} needs {total - held} bytes more; {part.parent} has {free} free.")
    meter.update(done=held, total=total)
    _append(response, url, part, meter)
  if total is not None and _size(part) < total:
    raise _BrokenOffError(f"{url} broke off after {_size(part)} of {total} bytes")
  if total is not None and _size(part) > total:
    _forget(part)
    raise ConnectionError(f"{url} sent more than the {total} bytes that it announced.")


def _open(request: urllib.request.Request, part: pathlib.Path) -> http.client.HTTPResponse:
  """Opens an address; failures that may pass are told apart from those that will not."""
  url = request.full_url
  try:
    response = urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
  except urllib.error.HTTPError as error:
    error.close()
    if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
      _forget(part)
      raise _BrokenOffError(f"{url} changed while it was fetched") from error
    sentence = f"{url} can't be had: the server answers {error.code} {error.reason}"
    if error.code >= http.HTTPStatus.INTERNAL_SERVER_ERROR:
      raise _BrokenOffError(sentence) from error
    raise ConnectionError(f"{sentence}.") from error
  except (OSError, http.client.HTTPException) as error:
    reason = getattr(error, "reason", error)
    raise _BrokenOffError(f"{url} can't be reached ({reason})") from error
  # Login portals and consent pages answer with a page instead of the file.
  if response.headers.get_content_type() == "text/html":
    response.close()
    raise ConnectionError(f"{url} is answered with a web page instead of the file.")
  return response


def _validator(headers: http.client.HTTPMessage) -> str | None:
  """Returns the mark of a file's version; a weak tag is none."""
  tag = headers.get("ETag", "")
  return tag if tag.startswith('"') else headers.get("Last-Modified")


def _forget(part: pathlib.Path) -> None:
  # The record goes last: until then it says that the part is ours.
  part.unlink(missing_ok=True)
  _validator_path(part).unlink(missing_ok=True)


def _append(response: http.client.HTTPResponse, url: str, part: pathlib.Path, meter: Meter) -> None:
  def read() -> bytes:
    try:
      return response.read1(_CHUNK_BYTES)
    except (OSError, http.client.HTTPException) as error:
      raise _BrokenOffError(f"{url} broke off ({error})") from error

  try:
    with part.open("ab") as file:
      while chunk := read():
        file.write(chunk)
        meter.advance(len(chunk))
      file.flush()
      os.fsync(file.fileno())
  except OSError as error:
    raise OSError(f"{part} can't be written; is the disk full? {error}") from error
