"""Synthetic local descriptors with best matches like those of FIRe on Revisited Oxford.

An image has spots with several descriptors each, which are nearly equal, like those of neighbouring
scales. Its spots lie around a few of the collection's themes, which are unevenly popular. Images of
a landmark share its spots, each with an error of its own. Directions have the spectrum of FIRe's.
The constants below were fitted to the quantiles in `BEST_MATCHES`, which were measured on
published descriptors of 70 queries; tests/benchmarks/test_cann.py compares them.
"""

import dataclasses
import functools

import numpy as np

DIMENSION = 128
QUANTILES = (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
# Quantiles of the best cosines of 600 descriptors among the 600 of another image.
BEST_MATCHES = {
  "other landmark": (0.156, 0.273, 0.345, 0.433, 0.528, 0.620, 0.675, 0.772),
  "same landmark": (0.255, 0.433, 0.623, 0.825, 0.916, 0.954, 0.968, 0.983),
}

_THEMES = 3000
_THEMES_PER_IMAGE = 2
_POPULARITY = 1.2
_THEME_WEIGHTS = 3.3
_COHESION = (0.45, 0.79)
_MEAN = 0.09
_DESCRIPTORS_PER_SPOT = 600 / 41
_SPOT_NOISE = 0.14
_SHARED = (0.6, 1.0)
_VIEW = (0.84, 1.0)


@dataclasses.dataclass(frozen=True)
class FireLike:
  """A collection of any size, whose images are made on demand.

  Indexing gives `(name, descriptors [count, 128] float32 of unit norm)`. The first L times
  `images_per_landmark` images belong to landmarks, the others to none.

  Attributes:
    num_images: N.
    num_landmarks: L.
    images_per_landmark: images of a landmark in the collection, all relevant to its queries.
    count: descriptors of an image.
    seed: of all random numbers.
    num_spots: of an image; None = as many to a descriptor as FIRe has.
  """

  num_images: int
  num_landmarks: int
  images_per_landmark: int
  count: int = 600
  seed: int = 0
  num_spots: int | None = None

  def __post_init__(self):
    if self.num_landmarks * self.images_per_landmark > self.num_images:
      raise ValueError(f"There are more images of landmarks than images: {self}.")

  @functools.cached_property
  def _themes(self) -> np.ndarray:
    return _unit(_directions(np.random.default_rng([self.seed, 0]), _THEMES))

  @functools.cached_property
  def _popularity(self) -> np.ndarray:
    popularity = np.cumsum(1.0 / np.arange(1, _THEMES + 1) ** _POPULARITY)
    return popularity / popularity[-1]

  def __len__(self) -> int:
    return self.num_images

  def __getitem__(self, image: int) -> tuple[str, np.ndarray]:
    if not 0 <= image < self.num_images:
      raise IndexError(image)
    landmark = image // self.images_per_landmark
    return f"{image:07d}", self._make(2, image, landmark)

  def query(self, number: int) -> np.ndarray:
    """Returns the descriptors of a query: one more image of landmark `number` modulo L."""
    return self._make(3, number, number % self.num_landmarks)

  def relevant(self, number: int) -> range:
    """Returns the images of a query's landmark."""
    first = (number % self.num_landmarks) * self.images_per_landmark
    return range(first, first + self.images_per_landmark)

  def _make(self, kind: int, number: int, landmark: int) -> np.ndarray:
    rng = np.random.default_rng([self.seed, kind, number])
    num_spots = self.num_spots or max(1, round(self.count / _DESCRIPTORS_PER_SPOT))
    spots = self._spots(rng, num_spots)
    if landmark < self.num_landmarks:
      shared = self._spots(np.random.default_rng([self.seed, 1, landmark]), num_spots)
      chosen = rng.permutation(num_spots)[: round(rng.uniform(*_SHARED) * num_spots)]
      view = rng.uniform(*_VIEW, (len(chosen), 1))
      spots[chosen] = _mix(shared[chosen], _directions(rng, len(chosen), mean=0.0), view)
    owners = rng.integers(0, num_spots, self.count)
    likeness = np.full((self.count, 1), (1.0 - _SPOT_NOISE**2) ** 0.5)
    return _mix(spots[owners], _directions(rng, self.count, mean=0.0), likeness)

  def _spots(self, rng: np.random.Generator, count: int) -> np.ndarray:
    themes = np.searchsorted(self._popularity, rng.random(_THEMES_PER_IMAGE))
    shares = np.cumsum(rng.gamma(_THEME_WEIGHTS, size=_THEMES_PER_IMAGE))
    chosen = themes[np.searchsorted(shares / shares[-1], rng.random(count))]
    cohesion = rng.uniform(*_COHESION, (count, 1))
    return _mix(self._themes[chosen], _directions(rng, count), cohesion)


def _spectrum() -> np.ndarray:
  """Returns standard deviations `[128]` float32 of the principal directions."""
  variances = np.exp(-((np.arange(DIMENSION) / 11.0) ** 0.85))
  return np.sqrt(variances / variances.sum()).astype(np.float32)


SPECTRUM = _spectrum()


def _directions(rng: np.random.Generator, count: int, mean: float = _MEAN) -> np.ndarray:
  values = rng.standard_normal((count, DIMENSION), dtype=np.float32) * SPECTRUM
  values[:, len(SPECTRUM) // 16] += np.float32(mean)
  return values


def _mix(values: np.ndarray, noise: np.ndarray, likeness: np.ndarray) -> np.ndarray:
  """Mixes unit vectors with noise `[n, d]`; the likeness `[n, 1]` is their share, in [0, 1]."""
  share = likeness.astype(np.float32)
  return _unit(share * values + np.sqrt(1.0 - share**2) * noise)


def _unit(values: np.ndarray) -> np.ndarray:
  return values / np.linalg.norm(values, axis=1, keepdims=True)
