"""Writes random weights, to run and time a network without its published weights.

  python -m benchmarks.synthetic_weights --model=superglobal --depth=101 --output=sg.safetensors
  python -m benchmarks.synthetic_weights --model=fire --output=fire.safetensors

Features of such a network cost as much as real ones, but describe an image poorly.
"""

from absl import flags

from benchmarks import synthetic
from l2g_jax.cli.command import Command, Group, Values
from l2g_jax.interop.checkpoints.architectures import (
  fire_architecture,
  lite0_architecture,
  superglobal_architecture,
)


def _define(values: flags.FlagValues) -> None:
  flags.DEFINE_enum("model", None, ["fire", "lite0", "superglobal"], "Network.", flag_values=values)
  flags.DEFINE_enum(
    "depth", "101", ["50", "101"], "Depth of superglobal's trunk.", flag_values=values
  )
  flags.DEFINE_integer("seed", 0, "Seed of the random numbers.", flag_values=values)
  flags.DEFINE_string("output", None, "File to write, NAME.safetensors.", flag_values=values)


def main(values: Values) -> None:
  """Writes the weights that the flags ask for."""
  if values.model == "fire":
    architecture = fire_architecture()
  elif values.model == "lite0":
    architecture = lite0_architecture()
  else:
    architecture = superglobal_architecture(50 if values.depth == "50" else 101)
  synthetic.write_weights(values.output, values.model, architecture, seed=values.seed)
  print(f"{values.output}: random weights of {values.model}")


COMMAND = Command(
  "synthetic_weights", __doc__, [Group("Weights", _define)], main, required=("model", "output")
)

if __name__ == "__main__":
  COMMAND.run("python -m benchmarks.synthetic_weights")
