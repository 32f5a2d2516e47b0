import os
import pty
import subprocess
import sys
import threading
import types

import pytest

from l2g_jax.runtime import progress
from l2g_jax.runtime.progress import Meter, track


class Clock:
  """A clock that stands unless it is told to go on."""

  def __init__(self):
    self.now = 1000.0

  def monotonic(self) -> float:
    return self.now


@pytest.fixture
def clock(monkeypatch):
  clock = Clock()
  monkeypatch.setattr(progress, "time", types.SimpleNamespace(monotonic=clock.monotonic))
  return clock


def test_a_log_gets_a_line_every_ten_seconds_and_one_at_the_end(clock, capsys):
  with Meter("searching", total=40, unit="images") as meter:
    for _ in range(40):
      clock.now += 1.0
      meter.advance()
  assert capsys.readouterr() == (
    "",
    "searching: 10 of 40 images, 30 s left\n"
    "searching: 20 of 40 images, 20 s left\n"
    "searching: 30 of 40 images, 10 s left\n"
    "searching: 40 of 40 images, 0 s left\n"
    "searching: 40 images in 40 s\n",
  )


def test_a_log_gets_no_line_of_what_takes_less_than_ten_seconds(clock, capsys):
  for _ in track(range(9), "reading"):
    clock.now += 1.0
  assert capsys.readouterr() == ("", "")


def test_what_fails_has_no_line_of_success(clock, capsys):
  def read():
    with Meter("reading", total=2, unit="files") as meter:
      clock.now += 15.0
      meter.advance()
      raise OSError("gone")

  with pytest.raises(OSError, match="gone"):
    read()
  assert capsys.readouterr().err == "reading: 1 of 2 files, 15 s left\n"


def test_what_was_done_before_does_not_count_as_speed(clock, capsys):
  with Meter("searching", total=1000, done=900, unit="images") as meter:
    clock.now += 10.0
    meter.advance(20)
  assert capsys.readouterr().err.startswith("searching: 920 of 1000 images, 40 s left\n")


def test_the_time_left_follows_the_last_minute(clock, capsys):
  with Meter("searching", total=1100, unit="images") as meter:
    meter.advance(1000)
    for _ in range(7):
      clock.now += 10.0
      meter.advance(10)
  lines = capsys.readouterr().err.splitlines()
  assert lines[0] == "searching: 1010 of 1100 images, 1 s left"
  assert lines[6] == "searching: 1070 of 1100 images, 30 s left"


def test_bytes_notes_and_totals_that_come_later_are_shown(clock, capsys):
  with Meter("a.tar.gz", unit=progress.BYTES) as meter:
    clock.now += 10.0
    meter.advance(1500)
    meter.update(done=2_000_000, total=8_000_000, note="2 failed")
    clock.now += 10.0
    meter.advance(0)
  assert capsys.readouterr().err.splitlines() == [
    "a.tar.gz: 1.5 kB",
    "a.tar.gz: 2.0 MB of 8.0 MB, 2 failed, 60 s left",
    "a.tar.gz: 2.0 MB in 20 s, 2 failed",
  ]


def test_what_is_disabled_shows_nothing(clock, capsys):
  for _ in track([1, 2], "reading", disabled=True):
    clock.now += 100.0
  assert capsys.readouterr() == ("", "")


def test_without_stderr_work_goes_on(monkeypatch):
  monkeypatch.setattr(sys, "stderr", None)
  assert list(track([1, 2], "reading")) == [1, 2]


def test_no_count_of_several_threads_is_lost():
  def count():
    for _ in range(5000):
      meter.advance()

  with Meter("counting", total=20_000) as meter:
    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
      thread.start()
    for thread in threads:
      thread.join()
  assert meter.done == 20_000


_PROGRAM = """
import time
from l2g_jax.runtime.progress import Meter, track

with Meter("never seen", total=2, delay=60.0) as meter:
  meter.advance()
with Meter("outer [b]", total=3, unit="images") as meter:
  for item in track(iter("ab"), "inner", total=2, unit="files"):
    print("item", item)
    meter.advance()
    time.sleep(0.15)
  meter.advance()
"""


def run_in_terminal(**environment) -> tuple[str, str]:
  """Runs the program with stderr in a terminal and stdout in a pipe; returns both."""
  controller, terminal = pty.openpty()
  run = subprocess.Popen(
    [sys.executable, "-c", _PROGRAM],
    stdout=subprocess.PIPE,
    stderr=terminal,
    text=True,
    env={**os.environ, "TERM": "xterm", "COLUMNS": "120", **environment},
  )
  os.close(terminal)
  shown = b""
  # Linux says at the end of a terminal that it can't be read.
  while True:
    try:
      chunk = os.read(controller, 1 << 16)
    except OSError:
      chunk = b""
    if not chunk:
      break
    shown += chunk
  os.close(controller)
  output, _ = run.communicate(timeout=60)
  assert run.returncode == 0
  return output, shown.decode()


def test_a_terminal_shows_bars_and_leaves_stdout_alone():
  output, shown = run_in_terminal()
  assert output == "item a\nitem b\n"
  assert "outer [b]" in shown
  assert "3 of 3 images" in shown
  assert "1 of 2 files" in shown
  assert "2 of 2 files" in shown
  assert "━" in shown
  assert "never seen" not in shown
  assert "item" not in shown


def test_a_terminal_that_writes_nothing_over_gets_lines():
  output, shown = run_in_terminal(TERM="dumb")
  assert output == "item a\nitem b\n"
  assert shown == ""


def test_colours_that_are_asked_for_in_a_log_bring_no_bars(monkeypatch, capsys):
  monkeypatch.setenv("FORCE_COLOR", "1")
  assert list(track([1, 2], "reading")) == [1, 2]
  assert capsys.readouterr() == ("", "")


def test_open_meters_are_those_of_their_thread_that_show_something(clock):
  with progress.open_meters() as meters:
    with Meter("outer", total=10) as outer, Meter("silent", disabled=True):
      clock.now += 2.0
      outer.advance(4)
      with Meter("inner") as inner:
        assert meters == [outer, inner]
      assert (outer.description, outer.done, outer.total) == ("outer", 4, 10)
      assert outer.seconds_left() == pytest.approx(3.0)
      elsewhere = []
      thread = threading.Thread(target=lambda: elsewhere.append(Meter("elsewhere").__enter__()))
      thread.start()
      thread.join()
      assert meters == [outer]
    assert meters == []
  with Meter("after"):
    assert meters == []
