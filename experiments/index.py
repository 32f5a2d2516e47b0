"""The command of `l2g_jax.cli.index` as a script."""

from l2g_jax.cli import command, index

__doc__ = index.__doc__

if __name__ == "__main__":
  command.run(index.main)
