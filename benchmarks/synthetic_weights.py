"""Writes random weights, to run and time a network without the published ones.

  python -m benchmarks.synthetic_weights --model=superglobal --depth=101 --output=sg.safetensors
  python -m benchmarks.synthetic_weights --model=fire --output=fire.safetensors

Features of such a network cost what real ones cost, and tell little of an image.
"""

from absl import flags

from benchmarks import synthetic
from l2g_jax.cli import command
from l2g_jax.errors import InputError
from l2g_jax.interop.checkpoints.conversion import fire_architecture, superglobal_architecture

FLAGS = flags.FLAGS
flags.DEFINE_enum("model", None, ["fire", "superglobal"], "What they are of.", required=True)
flags.DEFINE_enum("depth", "101", ["50", "101"], "Of superglobal's trunk.")
flags.DEFINE_integer("seed", 0, "Of the numbers.")


def main() -> None:
  """Writes the weights that the flags ask for."""
  output = command.OUTPUT.value
  if not output:
    raise InputError("--output must name the file to write, NAME.safetensors.")
  if FLAGS.model == "fire":
    architecture = fire_architecture()
  else:
    architecture = superglobal_architecture(50 if FLAGS.depth == "50" else 101)
  synthetic.write_weights(output, FLAGS.model, architecture, seed=FLAGS.seed)
  print(f"{output}: random weights of {FLAGS.model}")


if __name__ == "__main__":
  command.run(main)
