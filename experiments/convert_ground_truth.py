"""The command `l2g convert_ground_truth` as a script."""

from l2g_jax.cli.convert_ground_truth import COMMAND

if __name__ == "__main__":
  COMMAND.run("python -m experiments.convert_ground_truth")
