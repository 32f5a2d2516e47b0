"""How a collection is described and indexed."""

import dataclasses
import pathlib

from l2g_jax import settings
from l2g_jax.cann import CannConfig
from l2g_jax.data.images import CropPolicy
from l2g_jax.features.protocol import GlobalExtractor, LocalExtractor
from l2g_jax.features.sift import sift
from l2g_jax.pipeline.l2g import PAPER_WEIGHT
from l2g_jax.retriever.sources import LocalFiles

# A weak global feature misleads where local ones do not; docs/method.md says how this was chosen.
_VLAD_WEIGHT = 0.9


@dataclasses.dataclass(frozen=True)
class Features:
  """The features of a collection and of its queries.

  Attributes:
    local: the extractor of local features, or files that hold them.
    global_features: the extractor of global features; a file or folder, see
      `interop.global_features.read_global`; None = VLAD, aggregated from the local ones.
    whiten: whether local descriptors are whitened, by a whitening learned from the collection;
      None = those of SIFT.
    crop_policy: how a query's box becomes a crop; None = as each extractor does.
  """

  local: LocalExtractor | LocalFiles = dataclasses.field(default_factory=sift)
  global_features: GlobalExtractor | pathlib.Path | None = None
  whiten: bool | None = None
  crop_policy: CropPolicy | None = None

  @property
  def whitens(self) -> bool:
    """Whether local descriptors are whitened."""
    is_sift = isinstance(self.local, LocalExtractor) and self.local.name == "sift"
    return is_sift if self.whiten is None else self.whiten

  @property
  def default_weight(self) -> float:
    """w, the weight of the embedding against these global features, where none is given."""
    return _VLAD_WEIGHT if self.global_features is None else PAPER_WEIGHT


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

  def __post_init__(self):
    settings.integer("num_candidates", self.num_candidates, least=1)
    settings.integer("seed", self.seed, least=0, most=settings.LARGEST_SEED)
