"""Local-to-global retrieval on Revisited Oxford (arXiv 2509.04351).

  python -m experiments.roxf --k=700 --w=0.19 [--data_root=DIR] [--dataset=roxford5k]

Without a copy of roxford5k in data/, the built-in synthetic benchmark is made and used instead.
"""

from l2g_jax.cli import command, revisited

if __name__ == "__main__":
  command.run(lambda: revisited.main("roxford5k"))
