"""Local-to-global retrieval on Revisited Paris (arXiv 2509.04351).

  python -m experiments.rpar --k=700 --w=0.19 [--data_root=DIR] [--dataset=rparis6k]

Without a copy of rparis6k in data/, the built-in synthetic benchmark is made and used instead.
"""

from l2g_jax.cli import command, revisited

if __name__ == "__main__":
  command.run(lambda: revisited.main("rparis6k"))
