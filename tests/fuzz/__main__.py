"""Fuzzes every parser by coverage, each for some minutes, and says what was found.

pip install -r requirements-fuzz.txt
python -m tests.fuzz --minutes=30 [--targets=checkpoint,images] [--output=FOLDER]

A finding is any exception but InputError, memory beyond the target's limit, or an input that takes
more than ten seconds of processor time, or a minute in all. Corpus, log and findings stay in the
folder; another run goes on from there.
"""

import argparse
import pathlib
import re
import subprocess
import sys

from tests.fuzz.targets import TARGETS


def main() -> None:
  """Runs one target after another; exit status 1 where anything was found."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--minutes", type=float, default=30)
  parser.add_argument("--targets", default=",".join(TARGETS))
  parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("fuzz"))
  arguments = parser.parse_args()
  found = 0
  for name in arguments.targets.split(","):
    root = arguments.output / name
    root.mkdir(parents=True, exist_ok=True)
    options = [f"--target={name}", f"--minutes={arguments.minutes}", f"--output={root}"]
    with (root / "log").open("w") as log:
      subprocess.run(
        [sys.executable, "-m", "tests.fuzz.one", *options], stdout=log, stderr=log, check=False
      )
    findings = sorted(path.name for path in (root / "findings").iterdir())
    print(
      f"{name}: {_summary(root / 'log')}, findings: {', '.join(findings) or 'none'}", flush=True
    )
    found += len(findings)
  sys.exit(1 if found else 0)


def _summary(log: pathlib.Path) -> str:
  """Returns what libFuzzer says of a run: seconds, executions, branches at its start and end."""
  text = log.read_text(errors="replace")
  runs = re.findall(r"^#(\d+)\s", text, re.MULTILINE)
  branches = re.findall(r"cov: (\d+)", text)
  seconds = re.search(r"Done \d+ runs in (\d+) second", text)
  ended = f"{seconds[1]} s" if seconds else "ended early, see the log"
  return (
    f"{ended}, {runs[-1] if runs else 0} executions, branches"
    f" {branches[0] if branches else 0} -> {branches[-1] if branches else 0}"
  )


if __name__ == "__main__":
  main()
