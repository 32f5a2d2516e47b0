import functools
import http.server
import threading

import pytest

from tests.data.site import CONTENT, Handler, Site


@pytest.fixture
def site(monkeypatch):
  monkeypatch.setenv("no_proxy", "127.0.0.1")
  site = Site("", {"a.bin": CONTENT})
  with http.server.ThreadingHTTPServer(
    ("127.0.0.1", 0), functools.partial(Handler, site)
  ) as server:
    site.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield site
    server.shutdown()
    thread.join()
