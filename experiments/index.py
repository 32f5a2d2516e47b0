"""The command `l2g index` as a script."""

from l2g_jax.cli.index import COMMAND

if __name__ == "__main__":
  COMMAND.run("python -m experiments.index")
