"""How a collection is described and indexed."""

import dataclasses
import pathlib

from l2g_jax import settings
from l2g_jax.cann import CannConfig
from l2g_jax.data.images import CropPolicy
from l2g_jax.errors import SettingError
from l2g_jax.features.aliked import aliked_extractor
from l2g_jax.features.protocol import GlobalExtractor, LocalExtractor
from l2g_jax.features.sift import sift
from l2g_jax.interop.pretrained import read_pretrained
from l2g_jax.pipeline.l2g import PAPER_WEIGHT
from l2g_jax.retriever.sources import LocalFiles, local_settings

# Of a collection, where none is given; the power is from development data.
INDEX = CannConfig(burst_power=3.0)
# A weak global feature misleads where local ones do not; `benchmarks.defaults` compares weights.
_WEIGHT = 0.9
# Global features whose weight is that one; of others the paper's is known to serve.
_WEAK = ("lite0",)


Local = LocalExtractor | LocalFiles
GlobalSource = GlobalExtractor | pathlib.Path


def default_local() -> tuple[LocalExtractor, ...]:
  """Returns the local features that serve photographs of any kind: ALIKED-n16 and SIFT.

  ALIKED finds buildings and objects where SIFT fails; SIFT knows turned planar ones again, for
  which ALIKED is blind.

  Raises:
    InputError: the weights of ALIKED are not installed.
  """
  return aliked_extractor(read_pretrained("aliked-n16")), sift()


@dataclasses.dataclass(frozen=True)
class Features:
  """The features of a collection and of its queries.

  Attributes:
    local: the extractor of local features, or files that hold them; or several kinds, whose
      searches are united, see `ranking.union`. The default is `default_local`.
    global_features: the extractor of global features; a file or folder, see
      `interop.global_features.read_global`; None = VLAD, aggregated from the local ones.
    whiten: whether local descriptors are whitened, by a whitening learned from the collection;
      None = those of SIFT.
    crop_policy: how a query's box becomes a crop; None = as each extractor does.
  """

  local: Local | tuple[Local, ...] = dataclasses.field(default_factory=default_local)
  global_features: GlobalSource | None = None
  whiten: bool | None = None
  crop_policy: CropPolicy | None = None

  def __post_init__(self):
    kinds = [local_settings(kind) for kind in self.kinds]
    if not kinds or any(kind in kinds[:number] for number, kind in enumerate(kinds)):
      raise SettingError("local", "one kind of local features, or several that differ", self.local)

  @property
  def kinds(self) -> tuple[Local, ...]:
    """The kinds of local features, one at least."""
    return self.local if isinstance(self.local, tuple) else (self.local,)

  def whitens(self, local: Local) -> bool:
    """Returns whether descriptors of a kind are whitened."""
    is_sift = isinstance(local, LocalExtractor) and local.name == "sift"
    return is_sift if self.whiten is None else self.whiten

  @property
  def default_weight(self) -> float:
    """w, the weight of the embedding against these global features, where none is given."""
    source = self.global_features
    is_weak = source is None or (isinstance(source, GlobalExtractor) and source.name in _WEAK)
    return _WEIGHT if is_weak else PAPER_WEIGHT


@dataclasses.dataclass(frozen=True)
class StageOptions:
  """How the stages are made.

  Attributes:
    features: of the images.
    index: settings of the index; those of a search serve searches alone, and never lists.
    num_candidates: k, candidates of a search, and the neighbours that are stored of every image,
      if there are as many; at least 1.
    seed: of every sample and start.
  """

  features: Features
  index: CannConfig
  num_candidates: int
  seed: int

  def kinds(self) -> tuple["KindOptions", ...]:
    """Returns the settings of each kind of local features."""
    features = self.features
    is_extracted = all(isinstance(local, LocalExtractor) for local in features.kinds)
    is_extracted &= not isinstance(features.global_features, pathlib.Path)
    return tuple(
      KindOptions(
        local=local,
        whiten=features.whitens(local),
        crop_policy=features.crop_policy,
        has_vlad=features.global_features is None,
        is_extracted=is_extracted,
        index=self.index,
        num_candidates=self.num_candidates,
        seed=self.seed,
      )
      for local in features.kinds
    )

  def __post_init__(self):
    settings.integer("num_candidates", self.num_candidates, least=1)
    settings.integer("seed", self.seed, least=0, most=settings.LARGEST_SEED)


@dataclasses.dataclass(frozen=True)
class KindOptions:
  """How the stages of one kind of local features are made; see `Features` and `StageOptions`.

  Attributes:
    local: the kind.
    whiten: whether its descriptors are whitened.
    crop_policy: see `Features`.
    has_vlad: whether global features are aggregated from it.
    is_extracted: whether no features of the collection are given as files.
    index: see `StageOptions`, as the two below.
    num_candidates: k.
    seed: of every sample and start.
  """

  local: Local
  whiten: bool
  crop_policy: CropPolicy | None
  has_vlad: bool
  is_extracted: bool
  index: CannConfig
  num_candidates: int
  seed: int
