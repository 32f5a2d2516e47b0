"""The command of `l2g_jax.cli.convert_ground_truth` as a script."""

from l2g_jax.cli import command, convert_ground_truth

__doc__ = convert_ground_truth.__doc__

if __name__ == "__main__":
  command.run(convert_ground_truth.main)
