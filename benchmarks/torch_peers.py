"""Peers in plain PyTorch; imported only where PyTorch is installed."""

import numpy as np
import torch  # pyright: ignore[reportMissingImports]


def _tensor(array: np.ndarray):
  return torch.from_numpy(array).to("cuda" if torch.cuda.is_available() else "cpu")


def smacof(dissimilarities: np.ndarray, start: np.ndarray, num_iterations: int) -> np.ndarray:
  """Applies the Guttman transform X <- B(X) X / n."""
  delta, points = _tensor(dissimilarities), _tensor(start)
  for _ in range(num_iterations):
    distances = torch.cdist(points, points)
    ratios = torch.where(distances > 0, delta / distances.clamp(min=1e-12), 0.0)
    factors = torch.diag(ratios.sum(dim=1)) - ratios
    points = factors @ points / len(points)
  return points.cpu().numpy()


def superglobal_rerank(
  query: np.ndarray, features: np.ndarray, num_neighbors: int, beta: float
) -> np.ndarray:
  """Scores a shortlist like SuperGlobal's public code, which makes an array `[M, K + 1, D]`."""
  one, many = _tensor(query), _tensor(features)
  values, neighbors = torch.topk(many @ many.T, num_neighbors + 1, dim=1)
  weights = torch.cat([torch.ones_like(values[:, :1]), beta * values[:, 1:]], dim=1)
  refined = (weights[:, :, None] * many[neighbors]).sum(dim=1) / weights.sum(dim=1, keepdim=True)
  first = refined @ one
  expanded = refined[torch.topk(first, num_neighbors + 1).indices].amax(dim=0)
  return ((first + refined @ expanded) / 2).cpu().numpy()


def make_maxsim(images: np.ndarray):
  """Returns a function from a query `[q, d]` to its mean of maxima with images `[N, c, d]`."""
  held = _tensor(images)

  def maxsim(query: np.ndarray) -> np.ndarray:
    one = _tensor(query)
    scores = [(one @ image.T).amax(dim=1).clamp(min=0).mean() for image in held]
    return torch.stack(scores).cpu().numpy()

  return maxsim
