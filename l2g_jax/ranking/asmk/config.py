"""Settings of aggregated selective match kernels."""

import dataclasses

import numpy as np

from l2g_jax import settings
from l2g_jax.errors import SettingError


@dataclasses.dataclass(frozen=True)
class AsmkConfig:
  """How images are aggregated and compared; the defaults are the published ones.

  "Development data" are photographs of landmarks and of covers among paintings, by RootSIFT, raw
  and whitened, with 4096 words. No other value of the numbers or of idf was better throughout.

  Bursts, which are many like descriptors in one image, need no setting: all descriptors of a word
  become one vector of unit length or of bits, which counts once however many they are.

  Attributes:
    binary: whether a vector is kept as the signs of its components, one bit each. Otherwise it is
      kept as float32 of unit norm, 32 times as large; on development data mAP (Medium)
      was higher by 0.4 to 7.4 that way.
    multiple_assignment: to how many of its nearest words a descriptor of a query goes, at least 1;
      to all if there are fewer words. More find more matches, in time in proportion; with few
      words, such as 256, one is better. A descriptor of the collection goes to one.
    alpha: exponent of a similarity, at least 0. The larger, the less middling matches count.
    threshold: the least similarity that counts, in [0, 1].
    use_idf: whether words count by their inverse document frequency, log(N / n)^2 of N images, n of
      which have the word.
  """

  binary: bool = True
  multiple_assignment: int = 5
  alpha: float = 3.0
  threshold: float = 0.0
  use_idf: bool = False

  def __post_init__(self):
    count = settings.integer("multiple_assignment", self.multiple_assignment, least=1)
    checked = {
      "binary": _flag("binary", self.binary),
      "multiple_assignment": count,
      "alpha": settings.real("alpha", self.alpha, least=0.0),
      "threshold": settings.real("threshold", self.threshold, least=0.0, most=1.0),
      "use_idf": _flag("use_idf", self.use_idf),
    }
    for name, value in checked.items():
      object.__setattr__(self, name, value)


def _flag(name: str, value: bool) -> bool:
  if not isinstance(value, bool | np.bool_):
    raise SettingError(name, "True or False", value)
  return bool(value)
