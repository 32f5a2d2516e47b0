"""Runs the experiments again, and says which figure left its tolerance.

  python -m experiments.check [--form=short] [--experiments=ablation,transfer] [--work_dir=work]

The form `short` takes a small built-in set and few values, and is done in a minute; `mini` takes
the built-in benchmark, from features that are there in a quarter of an hour. Expected figures lie
in experiments/expected, with the flags that made them and their tolerances; --write makes them
anew. Published figures stand beside, with what a run of them needs.
"""

import json
import pathlib
import sys
import tempfile
from collections.abc import Sequence

from absl import flags

from experiments import ablation, embedding, scaling, transfer
from experiments.built_in import MINI
from experiments.checks.figures import Tables, comparable, differences
from experiments.checks.small_set import NAME, make_small_set
from l2g_jax.cli.command import Command, Group, Values
from l2g_jax.errors import InputError
from l2g_jax.runtime import files

EXPECTED = pathlib.Path(__file__).parent / "expected"
COMMANDS = {
  module.COMMAND.name: module.COMMAND for module in (ablation, embedding, scaling, transfer)
}

# Enough to see that every part does what it did; sizes are shared, since each compiles a program.
_SMALL = ("--k=20", "--dimensions=8", "--local=sift")
_FLAGS: dict[str, dict[str, tuple[str, ...]]] = {
  "short": {
    "ablation": (
      *_SMALL,
      "--sweeps=t,p,rtol,certainty,w",
      *("--values=t:2,5", "--values=p:0.3", "--values=rtol:0.1", "--values=certainty:5,inf"),
      "--values=w:0,1",
    ),
    "embedding": (*_SMALL, "--iterations=0,5"),
    "scaling": (*_SMALL, "--distractors=60", "--extrapolate=1000", "--descriptors=40"),
    "transfer": (*_SMALL, "--weights=0.9"),
  },
  "mini": {
    "ablation": (
      *("--local=sift", "--every=3", "--sweeps=k,w,t,completion,p,rtol,m"),
      "--values=m:2,8,32,64",
    ),
    "embedding": ("--local=sift", "--every=3", "--iterations=0,1,5,20,50,100"),
    "scaling": ("--local=sift", "--every=3", "--k=200", "--distractors=1000,2000"),
    "transfer": ("--local=sift",),
  },
}
# Points of mAP and the like, by column. Other machines decode photographs a little differently;
# with 4 queries one image more or less is many points.
_TOLERANCES = {
  "short": {"stress.*|normalised": 0.01, "(.* )?(easy|medium|hard)(, w = .*)?": 4.0},
  "mini": {
    "stress.*|normalised": 0.005,
    "(.* )?(easy|medium|hard)(, w = .*)?": 1.0,
    "rho": 0.1,
    "w of .*|loss of .*": 1.0,
  },
}


def _define(values: flags.FlagValues) -> None:
  flags.DEFINE_enum("form", "short", [*_FLAGS], "How much is run.", flag_values=values)
  flags.DEFINE_list(
    "experiments", None, f"Of {', '.join(COMMANDS)}; omitted: all.", flag_values=values
  )
  flags.DEFINE_bool("write", False, "Write what is found as expected.", flag_values=values)
  flags.DEFINE_string(
    "work_dir", "work", "Folder in which features and figures are kept.", flag_values=values
  )


def main(values: Values) -> None:
  """Runs the experiments, and ends with 1 where a figure differs."""
  names = list(COMMANDS) if values.experiments is None else values.experiments
  if unknown := [name for name in names if name not in COMMANDS]:
    raise InputError(f"--experiments has {unknown[0]!r}, which is none of {', '.join(COMMANDS)}.")
  work = pathlib.Path(values.work_dir)
  failed = 0
  for name in names:
    given = _FLAGS[values.form][name]
    tables = run(name, [*given, *_data_flags(values.form, name, work), f"--work_dir={work}"])
    path = EXPECTED / values.form / f"{name}.json"
    if values.write:
      _write(path, name, given, tables, _TOLERANCES[values.form])
      print(f"\n{path} is written.")
      continue
    found = check(path, tables)
    failed += len(found)
    print(
      f"\n{name}, {values.form}: " + (f"{len(found)} figures differ." if found else "as expected.")
    )
    for sentence in found:
      print(f"  {sentence}")
  print_published()
  if failed:
    sys.exit(1)


def run(name: str, arguments: Sequence[str]) -> Tables:
  """Runs an experiment, and returns its tables by title."""
  with tempfile.TemporaryDirectory() as folder:
    output = pathlib.Path(folder) / "figures.json"
    values, _ = COMMANDS[name].parse([*arguments, f"--output={output}"])
    COMMANDS[name].main(values)
    return json.loads(output.read_text(encoding="utf-8"))["tables"]


def check(path: pathlib.Path, tables: Tables) -> list[str]:
  """Returns what differs from the expected figures of a file.

  Raises:
    InputError: there is no such file.
  """
  if not path.is_file():
    raise InputError(f"{path} is missing; --write makes it.")
  expected = json.loads(path.read_text(encoding="utf-8"))
  return [*differences(tables, expected["tables"], expected["tolerances"])]


def print_published() -> None:
  """Prints the published figures of the paper, which were not run."""
  published = json.loads((EXPECTED / "published.json").read_text(encoding="utf-8"))
  print("\nPublished, and not run here:")
  for entry in published["entries"]:
    print(f"  {entry['dataset']}: mAP {entry['medium']:g} medium ({entry['source']})")
  print(f"  {published['needs']}")


def _data_flags(form: str, name: str, work: pathlib.Path) -> list[str]:
  """Returns the flags that name the data set, which is made where it is not there."""
  if form == "short":
    root = work / "check"
    make_small_set(root)
    return (
      [f"--sets={root / NAME}"]
      if name == "transfer"
      else [
        f"--data_root={root}",
        f"--dataset={NAME}",
      ]
    )
  return [f"--sets={MINI.name}"] if name == "transfer" else [f"--dataset={MINI.name}"]


def _write(
  path: pathlib.Path,
  name: str,
  given: Sequence[str],
  tables: Tables,
  tolerances: dict[str, float],
) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  files.write_json(
    path,
    {
      "command": f"python -m experiments.{name} {' '.join(given)}",
      "tolerances": tolerances,
      "tables": comparable(tables, tolerances),
    },
  )


COMMAND = Command("check", __doc__, [Group("Check", _define)], main)

if __name__ == "__main__":
  COMMAND.run("python -m experiments.check")
