"""Checks a ground truth of the revisited layout, and converts it to JSON where --output is given.

l2g convert_ground_truth --input=gnd_roxford5k.pkl --output=gnd_roxford5k.json
"""

from absl import flags

from l2g_jax.cli.command import Command, Group, Values, check_file
from l2g_jax.data.ground_truth import load_ground_truth, save_ground_truth


def _define(values: flags.FlagValues) -> None:
  flags.DEFINE_string("input", None, "The ground truth, .pkl or .json.", flag_values=values)
  flags.DEFINE_string("output", None, "JSON file to write; omitted: none.", flag_values=values)


def main(values: Values) -> None:
  """Reads, verifies and writes."""
  if values.output:
    check_file(values.output)
  ground_truth = load_ground_truth(values.input)
  images, queries = len(ground_truth.imlist), len(ground_truth.qimlist)
  print(f"{values.input}: {images} images, {queries} queries")
  if values.output:
    save_ground_truth(values.output, ground_truth)


COMMAND = Command(
  "convert_ground_truth", __doc__, [Group("Conversion", _define)], main, required=("input",)
)
