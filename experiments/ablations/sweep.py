"""What a sweep varies, and all sweeps that there are."""

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any, get_args

from experiments.ablations.cell import Cell, Direction, Value
from l2g_jax.cli.setting_errors import settings_as_flags
from l2g_jax.embedding.dissimilarity import Completion
from l2g_jax.errors import InputError
from l2g_jax.similarity import kernels

# A tighter tolerance than the default may take as many iterations.
_MOST_ITERATIONS = 1000
# A comma between values; those of a kernel's parameters stand in parentheses.
_COMMA = re.compile(r",(?![^(]*\))")


@dataclasses.dataclass(frozen=True)
class Sweep:
  """A setting that is varied while all others stay.

  Attributes:
    name: of the flag.
    title: says what the setting is.
    values: the default list.
    read: the value of a cell.
    vary: the cell with another value.
    parse: reads a value of the command line.
    is_log: whether a plot has a logarithmic axis.
    note: stands below the table.
  """

  name: str
  title: str
  values: Sequence[Value]
  read: Callable[[Cell], Value]
  vary: Callable[[Cell, Any], Cell]
  parse: Callable[[str], Value]
  is_log: bool = False
  note: str = ""

  @property
  def is_numeric(self) -> bool:
    """Whether the values lie on an axis."""
    return self.parse in (int, float)

  def cells(self, base: Cell, values: Sequence[Value] | None, num_images: int) -> dict[Value, Cell]:
    """Returns the cells by value, that of the base among them.

    Args:
      base: the settings of the flags.
      values: of the sweep; None = the default list, without sizes beyond the collection.
      num_images: N.
    """
    if values is None:
      values = [v for v in self.values if self.name not in _SIZES or int(v) <= num_images]
    own = self.read(base)
    chosen = dict.fromkeys([*values, own])
    ordered = sorted(chosen, key=float) if self.is_numeric else [*chosen]
    with settings_as_flags():
      return {value: base if value == own else self.vary(base, value) for value in ordered}


def parse_values(texts: Sequence[str]) -> dict[str, list[Value]]:
  """Reads values by sweep from texts such as `k:50,100` and `kernel:chamfer,power(alpha=3)`."""
  sweeps = {sweep.name: sweep for sweep in SWEEPS}
  found: dict[str, list[Value]] = {}
  for text in texts:
    name, colon, rest = text.partition(":")
    if name not in sweeps or not colon:
      raise InputError(f"--values is NAME:VALUE,..., of one of {', '.join(sweeps)}, not {text!r}.")
    try:
      found[name] = [sweeps[name].parse(value.strip()) for value in _COMMA.split(rest)]
    except InputError:
      raise
    except ValueError as error:
      raise InputError(f"--values has a value of {name} that is no number: {rest!r}.") from error
  return found


def _of_config(
  name: str, title: str, field: str, values: Sequence[Value], parse: Any, **more: Any
) -> Sweep:
  """Returns the sweep of a setting of the method."""

  def vary(cell: Cell, value: Value) -> Cell:
    changes: dict[str, Any] = {field: value}
    return dataclasses.replace(cell, config=dataclasses.replace(cell.config, **changes))

  return Sweep(name, title, values, lambda cell: getattr(cell.config, field), vary, parse, **more)


def _vary_rtol(cell: Cell, value: float) -> Cell:
  most = cell.config.max_iterations
  if value < cell.config.rtol:
    most = max(most, _MOST_ITERATIONS)
  config = dataclasses.replace(cell.config, rtol=value, max_iterations=most)
  return dataclasses.replace(cell, config=config)


def _vary_reranked(cell: Cell, value: int) -> Cell:
  config = dataclasses.replace(cell.config, num_reranked=value)
  return dataclasses.replace(cell, config=config)


def _parse_kernel(text: str) -> str:
  return str(kernels.parse(text))


def _parse_direction(text: str) -> str:
  if text not in get_args(Direction):
    raise InputError(f"A direction is one of {', '.join(get_args(Direction))}, not {text!r}.")
  return text


_KERNELS = tuple(map(str, (kernels.Chamfer(), kernels.Power(), kernels.Cann())))

SWEEPS: Sequence[Sweep] = (
  Sweep(
    "k",
    "k, candidates that are embedded",
    (25, 50, 100, 200, 400, 700, 1000),
    lambda cell: cell.k,
    lambda cell, value: dataclasses.replace(cell, k=value),
    int,
    is_log=True,
    note="Neighbour lists are as long as the flags say, whatever k is.",
  ),
  Sweep(
    "w",
    "w, weight of the embedding against the global feature",
    (0.0, 0.1, 0.19, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0),
    lambda cell: cell.weight,
    lambda cell, value: dataclasses.replace(cell, weight=value),
    float,
    note="A query is embedded once for all weights, so one row has the seconds.",
  ),
  _of_config("completion", "Unknown pairs", "completion", get_args(Completion), str),
  _of_config(
    "t",
    "t, known pairs of a candidate",
    "num_known",
    (3, 5, 15, 30, 50, 100, 200),
    int,
    is_log=True,
  ),
  _of_config(
    "q", "Known pairs of the query", "num_query_known", (1, 2, 3, 5, 10, 20), int, is_log=True
  ),
  _of_config(
    "p", "p, power of D = 1 - s^p", "power", (0.01, 0.1, 0.3, 0.6, 1.0, 2.0), float, is_log=True
  ),
  _of_config(
    "m",
    "m, dimensions of the embedding",
    "num_dimensions",
    (2, 8, 32, 64, 128, 256),
    int,
    is_log=True,
  ),
  Sweep(
    "rtol",
    "Tolerance of the stress",
    (0.1, 0.03, 0.01, 3e-3, 1e-3, 3e-4, 1e-4, 1e-5),
    lambda cell: cell.config.rtol,
    _vary_rtol,
    float,
    is_log=True,
    note=f"A tighter tolerance than that of the flags has {_MOST_ITERATIONS} iterations at most.",
  ),
  Sweep(
    "M",
    "M, candidates that are re-ranked",
    (100, 200, 400, 700, 1400),
    lambda cell: cell.config.num_reranked or cell.k,
    _vary_reranked,
    int,
    is_log=True,
    note="Candidates beyond k have their global feature alone.",
  ),
  _of_config("K", "K, neighbours that refine a vector", "num_neighbors", (0, 1, 3, 5, 9, 15), int),
  _of_config("beta", "beta, their weight", "beta", (0.0, 0.15, 0.31, 0.5, 1.0), float),
  _of_config(
    "certainty",
    "Certainty ratio",
    "certainty_ratio",
    (3.0, 5.0, 10.0, 20.0, float("inf")),
    float,
    is_log=True,
    note="inf: no match is certain, the order of the paper.",
  ),
  Sweep(
    "direction",
    "Whose similarity counts",
    get_args(Direction),
    lambda cell: cell.direction,
    lambda cell, value: dataclasses.replace(cell, direction=value),
    _parse_direction,
    note=(
      "query: the similarity of the query to the image, as in the method; mean and least: of both"
      " directions, exactly for candidates, and for lists by the direction that the other list"
      " holds, or by its last similarity where it holds none."
    ),
  ),
  Sweep(
    "kernel",
    "Kernel f",
    _KERNELS,
    lambda cell: cell.kernel,
    lambda cell, value: dataclasses.replace(cell, kernel=value),
    _parse_kernel,
    note="Each kernel has an index and lists of its own, which are made where they are missing.",
  ),
)
_SIZES = ("k", "M")
