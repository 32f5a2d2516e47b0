import os
import subprocess
import sys
import types
from concurrent.futures.process import BrokenProcessPool

import pytest

from l2g_jax.cli import command
from l2g_jax.errors import InputError
from tests.cli import toy


@pytest.fixture
def run(monkeypatch):
  """Runs a function as a command, with --output as given."""

  def run(main, output=None):
    monkeypatch.setattr(command, "OUTPUT", types.SimpleNamespace(value=output))
    monkeypatch.setattr(command.app, "run", lambda guarded: guarded(["command"]))
    command.run(main)

  return run


def failing(error):
  def main():
    raise error

  return main


@pytest.mark.parametrize(
  ("error", "message"),
  [
    (InputError("It is wrong."), "Error: It is wrong."),
    (PermissionError(13, "Permission denied", "a.jpg"), "Error: [Errno 13] Permission denied"),
    (MemoryError(), "Error: The memory at hand does not suffice"),
    (BrokenProcessPool("A process ended."), "Error: The memory at hand does not suffice"),
    (KeyboardInterrupt(), "Interrupted"),
  ],
)
def test_commands_end_in_a_sentence(run, error, message):
  with pytest.raises(SystemExit) as end:
    run(failing(error))
  assert str(end.value).startswith(message)
  assert "\n" not in str(end.value)


def test_other_errors_are_no_users_and_are_not_hidden(run):
  with pytest.raises(ZeroDivisionError):
    run(failing(ZeroDivisionError()))


def test_an_output_that_can_not_be_written_is_told_before_the_work(run, tmp_path):
  (tmp_path / "file").touch()
  with pytest.raises(SystemExit, match=r"can't be written: (Not a directory|File exists)"):
    run(lambda: pytest.fail("it went on"), output=str(tmp_path / "file" / "report.json"))
  with pytest.raises(InputError, match="is a folder; name a file in it"):
    command.check_file(tmp_path)
  command.check_file(tmp_path / "new" / "report.json")
  assert not [*(tmp_path / "new").iterdir()]


def script(tmp_path, body, **options):
  environment = {"PYTHONPATH": str(toy.ROOT), "HOME": str(tmp_path), "JAX_PLATFORMS": "cpu"}
  return subprocess.Popen(
    [sys.executable, "-c", f"from l2g_jax.cli import command\n{body}\ncommand.run(main)"],
    env=environment | {"PYTHONIOENCODING": "ascii", "LANG": "C"},
    cwd=tmp_path,
    stderr=subprocess.PIPE,
    **options,
  )


def test_any_name_can_be_printed_in_any_encoding(tmp_path):
  body = r"main = lambda: print('odd-\udcff caf\u00e9')"
  with script(tmp_path, body, stdout=subprocess.PIPE) as process:
    printed, errors = process.communicate(timeout=100)
  assert printed == b"odd-\\udcff caf\\xe9" + os.linesep.encode()
  assert (process.returncode, errors) == (0, b"")


def test_a_reader_may_leave(tmp_path):
  reader, writer = os.pipe()
  os.close(reader)
  with script(tmp_path, "main = lambda: print('much')", stdout=writer) as process:
    os.close(writer)
    assert process.stderr is not None
    assert process.stderr.read() == b""
  assert process.returncode == 1
