"""The command `l2g download` as a script."""

from l2g_jax.cli.download import COMMAND

if __name__ == "__main__":
  COMMAND.run("python -m experiments.download")
