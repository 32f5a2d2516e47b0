"""The server of a folder, in a thread of this process."""

import contextlib
import pathlib
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import uvicorn

from l2g_jax.features.sift import sift
from l2g_jax.web.app import create_app
from l2g_jax.web.keeper import Collection, Keeper

_POLL_SECONDS = 0.2
_PATIENCE_SECONDS = 60.0


@contextlib.contextmanager
def serve(
  images: pathlib.Path, work_dir: pathlib.Path, options: Mapping[str, Any] | None = None
) -> Iterator[str]:
  """Serves a folder at a free port, with SIFT unless options of a retriever say otherwise.

  Yields the address, without a slash at its end.
  """
  collection = Collection(images, work_dir, options or {"features": sift()})
  keeper = Keeper(collection, poll_seconds=_POLL_SECONDS)
  app = create_app(keeper)
  server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", ws="none"))
  thread = threading.Thread(target=server.run, name="server")
  thread.start()
  try:
    while not server.started:
      assert thread.is_alive(), "The server ended before it started."
      time.sleep(0.02)
    (listener,) = server.servers
    yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
  finally:
    server.should_exit = True
    thread.join()
    # A thread that compiles while the process ends would take it down.
    assert keeper.stop(_PATIENCE_SECONDS)
