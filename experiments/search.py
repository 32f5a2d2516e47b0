"""The command of `l2g_jax.cli.search` as a script."""

from l2g_jax.cli import command, search

__doc__ = search.__doc__

if __name__ == "__main__":
  command.run(search.main)
