import importlib
import os
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool

import pytest
from absl import flags

from l2g_jax.cli import command
from l2g_jax.cli.command import Command, Group
from l2g_jax.cli.main import main
from l2g_jax.data.photo_folders import is_contact_sheet
from l2g_jax.errors import InputError
from tests.cli import toy


def run(main):
  """Runs a function as a command without flags."""
  Command("toy", "Does something.", [], main).run(arguments=[])


def failing(error):
  def main(_):
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
@pytest.mark.fast
def test_commands_end_in_a_sentence(error, message):
  with pytest.raises(SystemExit) as end:
    run(failing(error))
  assert str(end.value).startswith(message)
  assert "\n" not in str(end.value)


def test_errors_of_the_program_are_not_hidden():
  with pytest.raises(ZeroDivisionError):
    run(failing(ZeroDivisionError()))


def test_a_file_that_can_not_be_written_is_refused(tmp_path):
  (tmp_path / "file").touch()
  with pytest.raises(InputError, match=r"can't be written: (Not a directory|File exists)"):
    command.check_file(tmp_path / "file" / "report.json")
  with pytest.raises(InputError, match="is a folder; name a file in it"):
    command.check_file(tmp_path)
  command.check_file(tmp_path / "new" / "report.json")
  assert not [*(tmp_path / "new").iterdir()]


def test_a_file_that_is_no_earlier_result_stays(tmp_path):
  photo, report = tmp_path / "photo.jpg", tmp_path / "report.json"
  photo.write_bytes(b"\xff\xd8")
  with pytest.raises(InputError, match="no earlier result, so it stays"):
    command.check_file(photo)
  report.write_text("{}")
  command.check_file(report)
  with pytest.raises(InputError, match="no earlier result, so it stays"):
    command.check_file(report, is_contact_sheet)


_HEAD = "from l2g_jax.cli.command import Command"


def script(tmp_path, body, **options):
  return subprocess.Popen(
    [sys.executable, "-c", f"{_HEAD}\n{body}\nCommand('toy', '', [], main).run(arguments=[])"],
    env=toy.environment(tmp_path) | {"PYTHONIOENCODING": "ascii", "LANG": "C"},
    cwd=tmp_path,
    stderr=subprocess.PIPE,
    **options,
  )


def test_any_name_can_be_printed_in_any_encoding(tmp_path):
  body = r"main = lambda _: print('odd-\udcff caf\u00e9')"
  with script(tmp_path, body, stdout=subprocess.PIPE) as process:
    printed, errors = process.communicate(timeout=100)
  assert printed == b"odd-\\udcff caf\\xe9" + os.linesep.encode()
  assert (process.returncode, errors) == (0, b"")


def test_a_reader_may_leave(tmp_path):
  reader, writer = os.pipe()
  os.close(reader)
  with script(tmp_path, "main = lambda _: print('much')", stdout=writer) as process:
    os.close(writer)
    assert process.stderr is not None
    assert process.stderr.read() == b""
  assert process.returncode == 1


def _define(values):
  flags.DEFINE_integer("k", 700, "Candidates of the search.", 1, flag_values=values)
  flags.DEFINE_enum("how", None, ["fast", "slow"], "Speed.", flag_values=values)


TOY = Command("toy", "Does something.\n\n  l2g toy --k=3\n", [Group("Search", _define)], print)


def test_help_lists_the_flags_of_the_command_alone(capsys):
  TOY.run("python -m toy", ["--k=3", "--help"])
  printed = capsys.readouterr().out
  assert printed.startswith(
    "usage: python -m toy [flags]\n\nDoes something.\n\n  python -m toy --k=3\n"
  )
  flag_lines = [line for line in printed.splitlines() if line.lstrip().startswith("--")]
  assert [line.split()[0] for line in flag_lines] == ["--k=INT", "--how=fast|slow"]
  assert "Search:\n  --k=INT                 Candidates of the search. Default: 700.\n" in printed


@pytest.mark.parametrize("arguments", [["--l=3"], ["--k=0"], ["--k=x"], ["--how=soon"], ["word"]])
def test_flags_that_can_not_be_are_refused_in_a_sentence(arguments):
  with pytest.raises(SystemExit, match=r"^Error: "):
    TOY.run(arguments=arguments)


@pytest.mark.parametrize("show", [lambda: TOY.run(arguments=["--help"]), lambda: main(["--help"])])
def test_a_reader_of_the_help_may_leave(monkeypatch, show):
  reader, writer = os.pipe()
  os.close(reader)
  with open(writer, "w", encoding="ascii") as output:
    monkeypatch.setattr(sys, "stdout", output)
    with pytest.raises(SystemExit) as end:
      show()
  assert end.value.code == 1


def _define_words(values):
  _define(values)
  flags.DEFINE_string("images", None, "Folder.", flag_values=values)
  flags.DEFINE_string("query", None, "Photograph.", flag_values=values)


def _define_output(values):
  flags.DEFINE_string("output", None, "File.", flag_values=values)


WORDED = Command(
  "toy",
  "Does something.",
  [Group("Search", _define_words)],
  print,
  required=("images", "query"),
  words={"images": "FOLDER", "query": "PHOTO"},
  example="photos a.jpg --k=3",
  forms={"output": Command("toy", "Another.", [Group("Output", _define_output)], print)},
)


@pytest.mark.parametrize(
  "arguments",
  [
    ["photos", "a b.jpg", "--k=3"],
    ["--k=3", "photos", "a b.jpg"],
    ["photos", "--k=3", "--query=a b.jpg"],
    ["--images=photos", "--query", "a b.jpg", "--k=3"],
  ],
)
def test_words_stand_for_flags(arguments):
  values, words = WORDED.parse(arguments)
  assert (values.images, values.query, values.k, words) == ("photos", "a b.jpg", 3, [])


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["photos", "--images=other", "--query=a"], "twice: by the word 'photos' and by --images"),
    (["photos", "a.jpg", "b.jpg"], "at most FOLDER and PHOTO; 'b.jpg' is one too many"),
    (["photos"], "PHOTO or --query is missing"),
    (["", "a.jpg"], "FOLDER or --images is missing"),
  ],
)
def test_words_that_do_not_fit_are_refused(arguments, message):
  with pytest.raises(InputError, match=message):
    WORDED.parse(arguments)


def test_without_arguments_a_command_says_what_to_do_next():
  with pytest.raises(SystemExit) as end:
    WORDED.run("l2g toy", [])
  assert end.value.code == (
    "usage: l2g toy FOLDER PHOTO [flags]\n"
    "such as l2g toy photos a.jpg --k=3\n--help lists the flags."
  )


def test_another_form_is_taken_where_its_flag_is_given(capsys):
  form = WORDED.forms["output"]
  for arguments in (["--output=x"], ["--output", "x"], ["-output=x"]):
    assert WORDED.form(arguments) is form
  for arguments in (["output", "a.jpg"], ["photos", "--query=--output"], ["photos", "--k=3"]):
    assert WORDED.form(arguments) is WORDED
  WORDED.run("l2g toy", ["--help"])
  printed = capsys.readouterr().out
  assert printed.index("FOLDER PHOTO") < printed.index("Another.") < printed.index("--output=")


@pytest.mark.parametrize("name", ["search", "index", "extract", "download"])
def test_every_command_that_needs_something_says_so(name):
  with pytest.raises(SystemExit, match=rf"(?s)^usage: l2g {name} .*--help lists the flags\.$"):
    main([name])


MODULES = [
  "convert",
  "convert_ground_truth",
  "download",
  "extract",
  "index",
  "roxf",
  "rpar",
  "search",
]


def test_scripts_can_be_imported_side_by_side():
  commands = [importlib.import_module(f"experiments.{name}").COMMAND for name in MODULES]
  helps = [command.help("x") for command in commands]
  assert all("--output" in text or "--mirror" in text for text in helps)
  # None of them puts a flag among those of the process.
  assert "output" not in flags.FLAGS


def test_every_command_of_l2g_shows_its_help(capsys):
  main(["--help"])
  lines = capsys.readouterr().out.splitlines()
  names = [line.split()[0] for line in lines if line.startswith("  ")]
  assert {"search", "evaluate", "extract", "index", "convert", "download"} <= set(names)
  for name in names:
    main([name, "--help"])
    printed = capsys.readouterr().out
    assert printed.startswith(f"usage: l2g {name}")
    assert "absl" not in printed


def test_an_unknown_command_is_refused():
  with pytest.raises(SystemExit, match="'find' is no command of l2g"):
    main(["find"])
