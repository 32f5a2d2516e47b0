"""The command of `l2g_jax.cli.extract` as a script."""

from l2g_jax.cli import command, extract

__doc__ = extract.__doc__

if __name__ == "__main__":
  command.run(extract.main)
