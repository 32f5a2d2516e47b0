"""Local-to-global retrieval on Revisited Paris (arXiv 2509.04351).

  l2g evaluate --k=700 --w=0.19 [--data_root=DIR] [--dataset=rparis6k]

Without a copy of rparis6k in data/, the built-in synthetic benchmark is made and used instead.
"""

from experiments.built_in import MINI
from l2g_jax.cli import evaluate

COMMAND = evaluate.make_command("rparis6k", MINI, description=__doc__)

if __name__ == "__main__":
  COMMAND.run("python -m experiments.rpar")
