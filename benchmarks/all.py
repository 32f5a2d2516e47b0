"""All benchmarks of the device side in one call and one report, for a GPU or TPU.

python -m benchmarks.all [--quick] [--output=benchmarks.json]
"""

from benchmarks import chamfer, common, features, mds, rerank

if __name__ == "__main__":
  parts = (rerank.BENCHMARK, mds.BENCHMARK, chamfer.BENCHMARK, features.BENCHMARK)
  common.run("all", __doc__, *parts)
