"""The command `l2g search` as a script."""

from l2g_jax.cli.search import COMMAND

if __name__ == "__main__":
  COMMAND.run("python -m experiments.search")
