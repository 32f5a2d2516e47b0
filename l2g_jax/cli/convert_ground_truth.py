"""Checks a ground truth of the revisited layout, and converts it to JSON where --output is given.

python -m experiments.convert_ground_truth --input=gnd_roxford5k.pkl --output=gnd_roxford5k.json
"""

from absl import flags

from l2g_jax.cli import command
from l2g_jax.data.ground_truth import load_ground_truth, save_ground_truth

FLAGS = flags.FLAGS
flags.DEFINE_string("input", None, "The ground truth, .pkl or .json.", required=True)


def main() -> None:
  """Reads, verifies and writes."""
  ground_truth = load_ground_truth(FLAGS.input)
  images, queries = len(ground_truth.imlist), len(ground_truth.qimlist)
  print(f"{FLAGS.input}: {images} images, {queries} queries")
  if command.OUTPUT.value:
    save_ground_truth(command.OUTPUT.value, ground_truth)
