"""Opens a folder of photographs in the browser, to search it for what one points at.

  l2g serve FOLDER

The page takes in what comes to the folder, and can be used meanwhile. Nothing in the folder is ever
changed; what is made of it is kept in --work_dir. The page is seen from this machine alone, unless
--host says otherwise; then it wants a token, which is part of the address that is printed.
"""

import importlib.util
import os
import pathlib
import re
import secrets
import socket
import sys
import webbrowser

from absl import flags

from l2g_jax.cli.command import Command, Group, Values
from l2g_jax.cli.feature_flags import FEATURES, read_features
from l2g_jax.cli.method_flags import METHOD, SEARCH, read_index_config, read_method_config
from l2g_jax.cli.work_flags import WORK, work_folder
from l2g_jax.data.image_names import printable
from l2g_jax.errors import InputError

_PORT = 8750
_MEGABYTE = 1_000_000
_TOKEN = re.compile(r"[A-Za-z0-9._~-]{8,200}")
_NEEDED = ("fastapi", "jinja2", "uvicorn")
# A search that was begun is answered before the end; the keeper's step is not waited for.
_GRACE_SECONDS = 5


def _define(values: flags.FlagValues) -> None:
  flags.DEFINE_string("images", None, "Folder of photographs to search.", flag_values=values)
  flags.DEFINE_string(
    "host",
    "127.0.0.1",
    "Address to listen at; 0.0.0.0 lets other machines in that know the token.",
    flag_values=values,
  )
  flags.DEFINE_integer(
    "port", _PORT, "Port to listen at; 0: any that is free.", 0, 65535, flag_values=values
  )
  flags.DEFINE_string(
    "token",
    None,
    "Word that browsers must have, 8 letters or digits at least; omitted: none on this machine"
    " alone, else one is made up.",
    flag_values=values,
  )
  flags.DEFINE_integer(
    "max_upload_mb", 64, "The largest picture that is taken, in MB.", 1, flag_values=values
  )
  flags.DEFINE_bool("open", False, "Open the page in a browser.", flag_values=values)


def main(values: Values) -> None:
  """Serves until it is interrupted."""
  if missing := [name for name in _NEEDED if importlib.util.find_spec(name) is None]:
    raise InputError(f'The page needs {missing[0]}: pip install "l2g_jax[web]".')
  import uvicorn

  from l2g_jax.web.app import create_app
  from l2g_jax.web.keeper import Collection, Keeper
  from l2g_jax.web.limits import Limits
  from l2g_jax.web.security import LOOPBACK

  images = pathlib.Path(values.images)
  if not images.is_dir():
    reason = "is not a folder" if images.exists() else "is not there"
    raise InputError(f"The folder {printable(str(images))} {reason}.")
  config, index, features = (
    read_method_config(values),
    read_index_config(values),
    read_features(values),
  )
  is_local = values.host in LOOPBACK
  token = _token(values.token, is_local=is_local)
  listening = _listen(values.host, values.port)
  options = {
    "features": features,
    "config": config,
    "index": index,
    "weight": values.w,
    "num_candidates": values.k,
    "seed": values.seed,
    "verify": values.verify,
  }
  keeper = Keeper(Collection(images, work_folder(values), options))
  app = create_app(
    keeper,
    token=token,
    hosts=LOOPBACK if is_local else None,
    limits=Limits(upload_bytes=values.max_upload_mb * _MEGABYTE),
  )
  address = _address(values.host, listening.getsockname()[1], token)
  print(f"{printable(str(images))} is open at {address}\nPress Ctrl+C to end.", flush=True)
  if values.open:
    webbrowser.open(address)
  server = uvicorn.Server(
    uvicorn.Config(
      app,
      log_level="warning",
      server_header=False,
      timeout_graceful_shutdown=_GRACE_SECONDS,
    )
  )
  try:
    server.run(sockets=[listening])
  except KeyboardInterrupt:
    pass  # Uvicorn has ended, and raises the signal again.
  finally:
    if not keeper.stop(1.0):
      # Amid a step nothing is lost: what it made so far is taken up next time. Its workers end
      # with this process.
      sys.stdout.flush()
      sys.stderr.flush()
      os._exit(0)


def _token(given: str | None, *, is_local: bool) -> str | None:
  if given is not None and not _TOKEN.fullmatch(given):
    raise InputError(
      "--token must have 8 letters or digits at least; . _ ~ and - may be among them."
    )
  return given if given is not None or is_local else secrets.token_urlsafe(24)


def _listen(host: str, port: int) -> socket.socket:
  """Returns a socket that is bound to an address, so that a refusal is told before the work."""
  try:
    family, kind, protocol, _, address = socket.getaddrinfo(
      host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
  except socket.gaierror as error:
    raise InputError(f"--host={host} is no address of this machine: {error.strerror}.") from error
  listening = socket.socket(family, kind, protocol)
  try:
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(address)
    # Whoever opens the address before the page is ready waits for it.
    listening.listen()
  except OSError as error:
    listening.close()
    raise InputError(
      f"The port {port} of {host} can't be used: {error.strerror}. --port=0 takes a free one."
    ) from error
  return listening


def _address(host: str, port: int, token: str | None) -> str:
  """Returns the address for a browser."""
  if host in ("0.0.0.0", "::"):
    host = socket.gethostname()
  shown = f"[{host}]" if ":" in host else host
  return f"http://{shown}:{port}/" + (f"?token={token}" if token else "")


COMMAND = Command(
  "serve",
  __doc__,
  [Group("Server", _define), FEATURES, SEARCH, METHOD, WORK],
  main,
  required=("images",),
  words={"images": "FOLDER"},
  example="photos",
)
