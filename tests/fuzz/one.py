"""Fuzzes one parser until its time is over, and keeps what it finds.

python -m tests.fuzz.one --target=checkpoint --minutes=30 --output=FOLDER
"""

import argparse
import hashlib
import importlib
import pathlib
import resource
import sys
import tempfile
import time
import traceback

# Compiled by Numba, which can't compile what counts its branches.
_COMPILED = ["products", "coarse", "packing", "scan", "segment", "quantizer"]
_MOST_INPUT_BYTES = 1 << 15
_SLOW_SECONDS = 10
_PAGE_BYTES = resource.getpagesize()


def _memory() -> int:
  return int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * _PAGE_BYTES


def main() -> None:
  """Runs libFuzzer, which ends the process."""
  parser = argparse.ArgumentParser()
  parser.add_argument("--target", required=True)
  parser.add_argument("--minutes", type=float, required=True)
  parser.add_argument("--output", type=pathlib.Path, required=True)
  arguments = parser.parse_args()
  atheris = importlib.import_module("atheris")
  with atheris.instrument_imports(
    include=["l2g_jax"], exclude=[f"l2g_jax.cann.{name}" for name in _COMPILED]
  ):
    targets = importlib.import_module("tests.fuzz.targets")
  target = targets.TARGETS[arguments.target]
  corpus = arguments.output / "corpus"
  findings = arguments.output / "findings"
  for made in (corpus, findings):
    made.mkdir(parents=True, exist_ok=True)
  folder = pathlib.Path(tempfile.mkdtemp(prefix="fuzz-"))
  for seed in target.seeds():
    (corpus / hashlib.sha1(seed).hexdigest()).write_bytes(seed)
    # Compilation and imports cost what no later call does.
    targets.call(target, seed, folder)

  def run(content: bytes) -> None:
    # One folder for all: a parser may leave files, but no input sees those of another.
    start = time.process_time()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_memory() + target.most_bytes, hard))
    try:
      targets.call(target, content, folder)
      fault = ""
    except Exception:
      fault = traceback.format_exc()
    finally:
      resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    seconds = time.process_time() - start
    if not fault and seconds > _SLOW_SECONDS:
      fault = f"It took {seconds:.0f} seconds.\n"
    if fault:
      _keep(findings, content, fault)

  options = [
    f"-max_total_time={round(60 * arguments.minutes)}",
    f"-max_len={_MOST_INPUT_BYTES}",
    "-timeout=60",
    "-rss_limit_mb=6000",
    "-print_final_stats=1",
    f"-artifact_prefix={findings}/",
  ]
  atheris.Setup([sys.argv[0], *options, str(corpus)], run)
  atheris.Fuzz()


def _keep(findings: pathlib.Path, content: bytes, fault: str) -> None:
  """Writes an input and its fault, the first one of every place in the code."""
  places = [line for line in fault.splitlines() if line.startswith("  File ")]
  key = hashlib.sha1((places[-1] if places else fault[:20]).encode()).hexdigest()[:12]
  if not (findings / f"{key}.txt").exists():
    (findings / f"{key}.bin").write_bytes(content)
    (findings / f"{key}.txt").write_text(fault)
    print(f"finding {key}: {fault.splitlines()[-1]}", flush=True)


if __name__ == "__main__":
  main()
