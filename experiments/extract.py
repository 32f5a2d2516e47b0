"""The command `l2g extract` as a script."""

from l2g_jax.cli.extract import COMMAND

if __name__ == "__main__":
  COMMAND.run("python -m experiments.extract")
