"""Common parts of the benchmarks: timing, the machine's ceilings, problems, tables and reports."""

import dataclasses
import functools
import importlib.util
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from l2g_jax.cli.command import Command, Group, Values, check_file
from l2g_jax.cli.report import describe_environment
from l2g_jax.runtime import files
from l2g_jax.runtime.workers import available_cores

Row = dict[str, Any]


def _define(values: flags.FlagValues) -> None:
  flags.DEFINE_integer(
    "repeats", 3, "Number of timings, of which the median is reported.", 1, flag_values=values
  )
  flags.DEFINE_bool(
    "from_dataset", False, "Whether to measure the queries of a data set too.", flag_values=values
  )
  flags.DEFINE_bool(
    "quick", False, "Use small sizes, which only show that all of it runs.", flag_values=values
  )
  flags.DEFINE_string("output", None, "JSON file of the report; omitted: none.", flag_values=values)


_BENCHMARK = Group("Benchmark", _define)


@dataclasses.dataclass(frozen=True)
class Ceilings:
  """The speeds that this machine reached in this run.

  Attributes:
    flops: operations a second of a float32 matrix product at precision "highest".
    bytes: bytes a second that a copy reads and writes.
  """

  flops: float
  bytes: float


def median_seconds(function: Callable[[], Any], repeats: int) -> float:
  """Returns the median seconds of calls that wait for the device, after one that compiles."""
  jax.block_until_ready(function())
  seconds = []
  for _ in range(repeats):
    start = time.perf_counter()
    jax.block_until_ready(function())
    seconds.append(time.perf_counter() - start)
  return statistics.median(seconds)


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
  """Calls a function once, and returns its result and seconds; it must not need compilation."""
  start = time.perf_counter()
  result = jax.block_until_ready(function())
  return result, time.perf_counter() - start


@functools.partial(jax.jit, static_argnames="precision")
def _multiply(a: jax.Array, precision: str) -> jax.Array:
  kind = jnp.int32 if a.dtype == jnp.int8 else jnp.float32
  # The fast product of int8 multiplies rows by rows.
  return jnp.matmul(a, a.T, precision=precision, preferred_element_type=kind)


def matmul_flops(size: int, dtype: str = "float32", repeats: int = 5) -> float:
  """Returns the operations a second of a square matrix product of random values."""
  values = jax.random.uniform(jax.random.key(0), (size, size), jnp.float32, -99.0, 99.0)
  values = values.astype(dtype)
  return 2.0 * size**3 / median_seconds(lambda: _multiply(values, precision="highest"), repeats)


def copy_bytes(num_bytes: int, repeats: int = 5) -> float:
  """Returns the bytes a second that a copy reads and writes."""
  values = jnp.zeros(num_bytes // 4, jnp.float32)
  copy = jax.jit(lambda values: values + 1.0)
  return 2.0 * num_bytes / median_seconds(lambda: copy(values), repeats)


def measure_ceilings(*, quick: bool) -> Ceilings:
  """Measures the speed of a large product and of a large copy."""
  large = jax.default_backend() != "cpu"
  size = 256 if quick else 8192 if large else 2048
  num_bytes = 1 << (20 if quick else 32 if large else 28)
  return Ceilings(flops=matmul_flops(size), bytes=copy_bytes(num_bytes))


def fractions(ceilings: Ceilings, seconds: float, flops: float, num_bytes: float) -> Row:
  """Returns counts of operations and bytes, and their speed as shares of the ceilings."""
  return {
    "gflop": flops / 1e9,
    "of matmul": flops / seconds / ceilings.flops,
    "gbyte": num_bytes / 1e9,
    "of copy": num_bytes / seconds / ceilings.bytes,
  }


def clustered_dissimilarities(seed: int, size: int, num_clusters: int = 60) -> np.ndarray:
  """Returns dissimilarities `[size, size]` of noisy clusters, half their pairs unknown (= 1)."""
  rng = np.random.default_rng(seed)
  labels = rng.integers(0, num_clusters, size)
  known = (labels[:, None] == labels[None]) & (rng.random((size, size)) < 0.5)
  values = np.triu(np.where(known, rng.uniform(0.2, 0.8, (size, size)), 1.0), 1)
  return (values + values.T).astype(np.float32)


@functools.cache
def has_torch() -> bool:
  """Returns whether the peers in PyTorch can run, and prints a line if not."""
  found = importlib.util.find_spec("torch") is not None
  if not found:
    print("PyTorch is not installed: its rows are left out.")
  return found


def peak_gigabytes() -> float:
  """Returns the peak of this process's resident memory, on Linux."""
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def peak_device_gigabytes() -> float | None:
  """Returns the peak of the first device's memory in use; None where the device does not tell."""
  peak = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
  return None if peak is None else peak / 1e9


def print_table(title: str, rows: Sequence[Row]) -> None:
  """Prints rows as a table with the names of their figures; `-` marks a missing one."""
  columns = list(dict.fromkeys(name for row in rows for name in row))
  cells = [columns, *([_text(row.get(column)) for column in columns] for row in rows)]
  widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
  print(f"\n{title}")
  for line in cells:
    first, *others = line
    padded = [text.rjust(width) for text, width in zip(others, widths[1:], strict=True)]
    print("  ".join([first.ljust(widths[0]), *padded]))


def _text(value: Any) -> str:
  if value is None:
    return "-"
  if isinstance(value, float):
    return f"{value:.4g}"
  return str(value)


def make_report(tables: Mapping[str, Sequence[Row]], ceilings: Ceilings) -> dict[str, Any]:
  """Gathers tables, ceilings and the environment, for JSON."""
  return {
    "tables": {title: list(rows) for title, rows in tables.items()},
    "ceilings": dataclasses.asdict(ceilings),
    "environment": describe_environment(),
  }


def print_head(ceilings: Ceilings) -> None:
  """Prints the machine and its ceilings."""
  print(
    f"{jax.devices()[0].device_kind} ({jax.default_backend()}, {jax.device_count()} devices),"
    f" {available_cores()} cores: float32 product {ceilings.flops / 1e9:.0f} GFLOP/s,"
    f" copy {ceilings.bytes / 1e9:.1f} GB/s"
  )


@dataclasses.dataclass(frozen=True)
class Benchmark:
  """A comparison that can be run alone or with others.

  Attributes:
    compare: measures, by the flags, and returns rows by title.
    groups: its own flags.
  """

  compare: Callable[[Values, Ceilings], Mapping[str, Sequence[Row]]]
  groups: Sequence[Group] = ()


def make_command(name: str, description: str | None, *benchmarks: Benchmark) -> Command:
  """Returns a command that prints the tables of benchmarks, and writes them to `--output`.

  The tables of one benchmark are printed and written before the next one begins.
  """

  def main(values: Values) -> None:
    if values.output:
      check_file(values.output)
    ceilings = measure_ceilings(quick=values.quick)
    print_head(ceilings)
    tables: dict[str, Sequence[Row]] = {}
    for benchmark in benchmarks:
      made = benchmark.compare(values, ceilings)
      for title, rows in made.items():
        print_table(title, rows)
      tables.update(made)
      if values.output:
        files.write_json(values.output, make_report(tables, ceilings))

  own = dict.fromkeys(group for benchmark in benchmarks for group in benchmark.groups)
  return Command(name, description, [_BENCHMARK, *own], main)


def run(name: str, description: str | None, *benchmarks: Benchmark) -> None:
  """Runs benchmarks as `python -m benchmarks.NAME`."""
  make_command(name, description, *benchmarks).run(f"python -m benchmarks.{name}")
