"""The command `l2g convert` as a script."""

from l2g_jax.cli.convert import COMMAND

if __name__ == "__main__":
  COMMAND.run("python -m experiments.convert")
