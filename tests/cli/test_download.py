import functools
import http.server
import io
import os
import pathlib
import pickle
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time

import pytest

from l2g_jax.cli import convert_ground_truth, download
from l2g_jax.data.dataset import PUBLISHED_COUNTS, load_dataset
from tests.cli import toy

NAME = "roxford5k"
TRUTH, ARCHIVE = f"gnd_{NAME}.pkl", "oxbuild_images-v1.tgz"
# While this file is there, nothing comes after the first bytes of an archive.
STALL = "stall"
FIRST_BYTES = 100_000


class Handler(http.server.BaseHTTPRequestHandler):
  def __init__(self, folder: pathlib.Path, *args):
    self.folder = folder
    super().__init__(*args)

  def do_GET(self):
    path = self.folder / self.path.lstrip("/")
    start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
    with (self.folder / "log").open("a") as log:
      log.write(f"{path.name} {start}\n")
    if not path.is_file():
      self.send_error(404)
      return
    content = path.read_bytes()
    self.send_response(206 if start else 200)
    self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
    self.send_header("Content-Length", str(len(content) - start))
    self.send_header("ETag", '"1"')
    self.end_headers()
    try:
      self.wfile.write(content[start : start + FIRST_BYTES])
      while (self.folder / STALL).exists():
        time.sleep(0.01)
      self.wfile.write(content[start + FIRST_BYTES :])
    except ConnectionError:
      self.close_connection = True

  def log_message(self, format, *args):
    pass


@pytest.fixture(scope="module")
def published(tmp_path_factory):
  """A stand-in for the published set, of as many images; returns its folder and address."""
  folder = tmp_path_factory.mktemp("published")
  images, queries = PUBLISHED_COUNTS[NAME]
  imlist = [f"image_{number:06}" for number in range(images)]
  qimlist = [f"query_{number:06}" for number in range(queries)]
  judgement = {"bbx": [0, 0, 1, 1], "easy": [0], "hard": [], "junk": []}
  content = {"imlist": imlist, "qimlist": qimlist, "gnd": [judgement] * queries}
  (folder / TRUTH).write_bytes(pickle.dumps(content))
  with tarfile.open(folder / ARCHIVE, "w:gz", compresslevel=1) as tar:
    for name in (*imlist, *qimlist):
      info = tarfile.TarInfo(f"images/{name}.jpg")
      info.size = 100
      tar.addfile(info, io.BytesIO(os.urandom(100)))
  with http.server.ThreadingHTTPServer(
    ("127.0.0.1", 0), functools.partial(Handler, folder)
  ) as server:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()


def stop_half_way(tmp_path, address, number, held):
  """Starts the command, and stops it by a signal once more of the archive has come."""
  # Where tests run in the background, interrupts are ignored, by their children too.
  usual = signal.signal(signal.SIGINT, signal.default_int_handler)
  process = subprocess.Popen(
    [sys.executable, "-m", "experiments.download", NAME, f"--mirror={address}"],
    cwd=tmp_path,
    env=toy.environment(tmp_path),
    stderr=subprocess.PIPE,
    text=True,
  )
  signal.signal(signal.SIGINT, usual)
  part = tmp_path / "data" / NAME / "downloads" / f"{ARCHIVE}.part"
  while not part.exists() or part.stat().st_size <= held:
    assert process.poll() is None
    time.sleep(0.01)
  process.send_signal(number)
  _, errors = process.communicate(timeout=60)
  assert not (tmp_path / "data" / NAME / "jpg").exists()
  return process.returncode, errors, part.stat().st_size


def test_a_download_that_is_interrupted_and_killed_goes_on_and_is_verified(published, tmp_path):
  folder, address = published
  (folder / STALL).touch()
  code, errors, first = stop_half_way(tmp_path, address, signal.SIGINT, 0)
  assert code == 1
  assert errors.endswith("Interrupted; the same command goes on where it stood.\n")
  code, _, second = stop_half_way(tmp_path, address, signal.SIGKILL, first)
  assert code == -signal.SIGKILL
  (folder / STALL).unlink()
  result = toy.run("download", NAME, f"--mirror={address}", cwd=tmp_path)
  assert result.returncode == 0, result.stderr
  assert "roxford5k is whole, in data/roxford5k\n" in result.stdout
  assert "Flickr" in result.stdout
  assert (folder / "log").read_text().splitlines() == [
    f"{TRUTH} 0",
    *(f"{ARCHIVE} {size}" for size in (0, first, second)),
  ]
  assert len(load_dataset(tmp_path / "data", NAME).database_paths) == PUBLISHED_COUNTS[NAME][0]
  (tmp_path / "data" / NAME / "jpg" / "query_000003.jpg").write_bytes(os.urandom(100))
  again = toy.refused(download.COMMAND, NAME, f"--data_root={tmp_path / 'data'}")
  assert "query_000003.jpg was altered; remove it to have it fetched again." in again


def test_a_set_that_was_published_in_part_is_refused_by_name(published, tmp_path):
  folder, address = published
  (folder / "part").mkdir()
  shutil.copy(folder / TRUTH, folder / "part")
  with (
    tarfile.open(folder / ARCHIVE) as whole,
    tarfile.open(folder / "part" / ARCHIVE, "w:gz") as part,
  ):
    for member in whole:
      if not member.name.endswith("42.jpg"):
        part.addfile(member, whole.extractfile(member))
  flags = (f"--mirror={address}/part", f"--data_root={tmp_path / 'here'}")
  refusal = toy.refused(download.COMMAND, NAME, *flags)
  assert "here/roxford5k/jpg lacks 50 of 4993 images: image_000042, " in refusal


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--verify"], "give one of roxford5k|rparis6k|revisitop1m|weights, not 0 words."),
    (["oxford5k"], "'oxford5k' is none of roxford5k, rparis6k, revisitop1m, weights."),
    (["weights", "--mirror=http://127.0.0.1:9"], "fire.pth can't be reached (["),
    (["weights", "--mirror={address}"], "fire.pth can't be had: the server answers 404 Not Found."),
  ],
)
def test_what_can_not_be_had_is_said_in_a_sentence(
  published, tmp_path, monkeypatch, flags, message
):
  monkeypatch.chdir(tmp_path)
  flags = [flag.replace("{address}", published[1]) for flag in flags]
  assert message in toy.refused(download.COMMAND, *flags)


def test_a_command_without_words_refuses_them():
  refusal = toy.refused(convert_ground_truth.COMMAND, "gnd.pkl", "--input=x.pkl")
  assert "'gnd.pkl' is one too many." in refusal
