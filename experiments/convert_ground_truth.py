"""Converts a ground truth of the revisited layout from a pickle to JSON, or checks a JSON one.

python -m experiments.convert_ground_truth --input=gnd_roxford5k.pkl --output=gnd_roxford5k.json
"""

from absl import flags

from experiments import command
from l2g_jax.data.ground_truth import load_ground_truth, save_ground_truth

FLAGS = flags.FLAGS
flags.DEFINE_string("input", None, "The ground truth, .pkl or .json.", required=True)
flags.DEFINE_string("output", None, "The JSON file to write; omitted: the input is only checked.")


def main() -> None:
  """Reads, verifies and writes."""
  ground_truth = load_ground_truth(FLAGS.input)
  images, queries = len(ground_truth.imlist), len(ground_truth.qimlist)
  print(f"{FLAGS.input}: {images} images, {queries} queries")
  if FLAGS.output:
    save_ground_truth(FLAGS.output, ground_truth)


if __name__ == "__main__":
  command.run(main)
