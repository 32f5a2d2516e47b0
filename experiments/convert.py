"""The command of `l2g_jax.cli.convert` as a script."""

from l2g_jax.cli import command, convert

__doc__ = convert.__doc__

if __name__ == "__main__":
  command.run(convert.main)
