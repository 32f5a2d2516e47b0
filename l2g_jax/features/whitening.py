"""PCA whitening of descriptors, learned from a sample of their collection."""

import dataclasses
import os
from collections.abc import Mapping

import numpy as np

from l2g_jax.errors import InputError
from l2g_jax.runtime import files

_KIND = "l2g_jax.whitening"
_VERSION = 1
# Keeps the projection finite when all descriptors are equal, and so have no variance.
_LEAST_VARIANCE = 1e-12


@dataclasses.dataclass(frozen=True)
class Whitening:
  """An affine map of descriptors, followed by L2 normalisation.

  Attributes:
    mean: `[d]` float32.
    projection: `[d, m]` float32, columns by descending variance.
  """

  mean: np.ndarray
  projection: np.ndarray

  @classmethod
  def from_note(cls, note: Mapping[str, np.ndarray] | None) -> "Whitening | None":
    """Returns the whitening that an index keeps a note of; None where it keeps none."""
    return None if note is None else cls(note["mean"], note["projection"])

  def to_note(self) -> dict[str, np.ndarray]:
    """Returns the whitening as an index keeps it: a note for whoever describes images."""
    return {"mean": self.mean, "projection": self.projection}


def fit_whitening(
  sample: np.ndarray, *, dimension: int | None = None, power: float = 0.5, shrinkage: float = 1e-4
) -> Whitening:
  """Learns a whitening.

  Args:
    sample: `[n, d]`, finite.
    dimension: m, the number of directions that are kept; None keeps all d.
    power: each direction is divided by its variance to this power; 0.5 whitens, 0 only rotates.
    shrinkage: fraction of the largest variance that is added to each variance, so that noise in
      the smallest ones is not blown up.

  Raises:
    InputError: the sample has fewer than two rows, or values that are not finite.
  """
  if sample.ndim != 2 or len(sample) < 2 or not np.all(np.isfinite(sample)):
    raise InputError(f"Whitening needs at least two finite descriptors, not {sample.shape}.")
  values = sample.astype(np.float64)
  mean = values.mean(axis=0)
  covariance = np.atleast_2d(np.cov(values - mean, rowvar=False))
  variances, directions = np.linalg.eigh(covariance)
  variances, directions = np.maximum(variances[::-1], 0.0), directions[:, ::-1]
  # eigh leaves the signs open: the largest entry of each direction becomes positive.
  rows = np.argmax(np.abs(directions), axis=0)
  directions = directions * np.sign(directions[rows, np.arange(directions.shape[1])])
  floor = max(shrinkage * variances[0], _LEAST_VARIANCE)
  projection = (directions / (variances + floor) ** power)[:, :dimension]
  return Whitening(mean.astype(np.float32), projection.astype(np.float32))


def apply_whitening(whitening: Whitening, descriptors: np.ndarray) -> np.ndarray:
  """Whitens descriptors.

  Args:
    whitening: of d dimensions.
    descriptors: `[n, d]`.

  Returns:
    `[n, m]` float32 of unit norm; the mean itself becomes zero.

  Raises:
    InputError: the shape does not fit, or a value is not finite.
  """
  dimension = len(whitening.mean)
  if descriptors.ndim != 2 or descriptors.shape[1] != dimension:
    raise InputError(f"Whitening takes descriptors [count, {dimension}], not {descriptors.shape}.")
  if not np.all(np.isfinite(descriptors)):
    raise InputError("Whitening takes finite descriptors; these hold a value that is not.")
  projected = (descriptors.astype(np.float32) - whitening.mean) @ whitening.projection
  return normalize_rows(projected)


def normalize_rows(values: np.ndarray) -> np.ndarray:
  """Divides rows `[n, d]` by their Euclidean norm; zero rows stay zero."""
  norms = np.linalg.norm(values, axis=1, keepdims=True)
  return values / np.where(norms > 0.0, norms, 1.0)


def save_whitening(directory: os.PathLike | str, whitening: Whitening) -> None:
  """Writes a whitening as a bundle."""
  files.save_bundle(
    directory,
    kind=_KIND,
    version=_VERSION,
    arrays={"mean": whitening.mean, "projection": whitening.projection},
    metadata={},
  )


def load_whitening(directory: os.PathLike | str, *, verify: bool = False) -> Whitening:
  """Reads a whitening; raises InputError if it is missing, truncated or, if verified, altered."""
  arrays = files.load_bundle(directory, kind=_KIND, version=_VERSION, verify=verify).arrays
  return Whitening(np.array(arrays["mean"]), np.array(arrays["projection"]))
