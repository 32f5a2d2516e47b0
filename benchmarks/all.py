"""All benchmarks of the device side in one call, into one report; meant for a GPU or TPU.

python -m benchmarks.all [--quick] [--output=benchmarks.json]
"""

from collections.abc import Sequence

from benchmarks import chamfer, common, features, mds, rerank
from benchmarks.common import Ceilings, Row


def main(ceilings: Ceilings) -> dict[str, Sequence[Row]]:
  """Runs the benchmarks, each to its end before the next."""
  return {
    title: rows
    for benchmark in (mds, rerank, chamfer, features)
    for title, rows in benchmark.main(ceilings).items()
  }


if __name__ == "__main__":
  common.run(main)
