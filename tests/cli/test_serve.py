import http.cookiejar
import json
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from l2g_jax.cli import serve
from l2g_jax.cli.serve import COMMAND
from l2g_jax.errors import InputError
from tests.cli import toy
from tests.retriever import photos

_RUN = "import sys; from l2g_jax.cli.main import main; main(sys.argv[1:])"


@pytest.fixture
def folder(tmp_path):
  (tmp_path / "photos").mkdir()
  return tmp_path / "photos"


def refused(folder, **values):
  with pytest.raises(InputError) as error:
    toy.call(
      COMMAND, **{"images": folder, "work_dir": folder.parent / "w", "local": "sift", **values}
    )
  return str(error.value)


def test_what_can_not_be_served_is_told_at_once(folder, monkeypatch):
  assert "is not there" in refused(folder / "none")
  (folder / "file").write_text("")
  assert "is not a folder" in refused(folder / "file")
  assert "--token" in refused(folder, token="short")
  assert "--token" in refused(folder, token="with spaces in it")
  assert "no address of this machine" in refused(folder, host="none.invalid")
  with socket.socket() as taken:
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    port = taken.getsockname()[1]
    assert f"port {port} of 127.0.0.1 can't be used" in refused(folder, port=port)
  monkeypatch.setattr(serve, "_NEEDED", ("no_such_package",))
  assert 'pip install "l2g_jax[web]"' in refused(folder)
  assert not (folder.parent / "w").exists()


def test_a_server_follows_its_folder_and_ends_when_it_is_told_to(folder):
  flags = ("--port=0", "--local=sift", "--token=a-good-long-word", "--max_upload_mb=1")
  process = subprocess.Popen(
    [sys.executable, "-c", _RUN, "serve", f"--images={folder}", *flags],
    cwd=folder.parent,
    env=toy.environment(folder.parent),
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  try:
    found = re.search(
      r"http://127\.0\.0\.1:\d+/\?token=a-good-long-word", process.stdout.readline()
    )
    assert found
    browser = urllib.request.build_opener(
      urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
    )
    address = found[0]
    assert b"<!doctype html>" in browser.open(address).read().lower()

    def status():
      return json.load(browser.open(address.split("?")[0] + "api/status"))

    assert status()["state"] == "preparing"
    assert status()["upload_bytes"] == 1_000_000
    photos.write(folder / "a.bmp", 1)
    while not status()["num_found"]:
      time.sleep(0.05)
  finally:
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
  assert "Traceback" not in errors
  # Uvicorn raises the signal again once it has ended.
  assert process.returncode in (0, -signal.SIGTERM)
