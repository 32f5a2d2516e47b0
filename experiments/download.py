"""The command of `l2g_jax.cli.download` as a script."""

from l2g_jax.cli import command, download

__doc__ = download.__doc__

if __name__ == "__main__":
  command.run(download.main, argument="|".join(download.download.SOURCES))
