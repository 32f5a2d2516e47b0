"""Sizes of AMES's network, its published variants and how each is combined with global features."""

import dataclasses
from collections.abc import Mapping

from l2g_jax import settings
from l2g_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class AmesConfig:
  """Sizes of the network; the defaults are those of the published ones.

  Attributes:
    local_dim: dimension of the local descriptors.
    binarized: whether descriptors are made binary before the network sees them, which it was
      distilled for. An image then takes `model_dim` bits a descriptor.
    model_dim: dimension of a token, a multiple of `num_heads`.
    num_heads: heads of an attention.
    num_layers: number of layers, at least 1.
    hidden_dim: width of the hidden layer behind the attentions.
  """

  local_dim: int
  binarized: bool = False
  model_dim: int = 128
  num_heads: int = 2
  num_layers: int = 5
  hidden_dim: int = 1024

  def __post_init__(self):
    for name in ("local_dim", "model_dim", "num_heads", "num_layers", "hidden_dim"):
      object.__setattr__(self, name, settings.integer(name, getattr(self, name), least=1))
    if self.model_dim % self.num_heads:
      raise InputError(
        f"model_dim must be a multiple of num_heads, not {self.model_dim} for {self.num_heads}."
      )


@dataclasses.dataclass(frozen=True)
class Ensemble:
  """How logits are combined with global similarities; see `shortlist.ensemble`.

  Attributes:
    weight: lambda in [0, 1], of the global similarity.
    temperature: gamma, above 0, of the logit.
  """

  weight: float
  temperature: float


# Of DINOv2 ViT-B/14 and of CVNet's ResNet 101.
_DINOV2_DIM, _CVNET_DIM = 768, 1024

# `fp` keeps descriptors as they are; `dist` is distilled from it for binary ones.
VARIANTS: Mapping[str, AmesConfig] = {
  "dinov2_fp": AmesConfig(_DINOV2_DIM),
  "dinov2_dist": AmesConfig(_DINOV2_DIM, binarized=True),
  "cvnet_fp": AmesConfig(_CVNET_DIM),
  "cvnet_dist": AmesConfig(_CVNET_DIM, binarized=True),
}
# As published.
ENSEMBLES: Mapping[str, Ensemble] = {
  "dinov2_fp": Ensemble(weight=0.55, temperature=0.30),
  "dinov2_dist": Ensemble(weight=0.35, temperature=0.10),
  "cvnet_fp": Ensemble(weight=0.85, temperature=0.80),
  "cvnet_dist": Ensemble(weight=0.65, temperature=0.20),
}
