"""The published networks: every tensor of theirs, by key and shape."""

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Mapping

from l2g_jax.features import fire, lite0, resnet, superglobal
from l2g_jax.interop.checkpoints.layers import (
  Architecture,
  Layer,
  convolution,
  dense,
  depthwise,
  layer_norm,
)

# Of its batch norms.
_LITE0_EPSILON = 1e-3


def superglobal_architecture(depth: superglobal.Depth) -> Architecture:
  """Returns the network of SuperGlobal in a checkpoint of CVNet."""
  layers = [convolution("trunk/stem", "stem.conv.weight", "stem.bn", resnet.STEM_WIDTH, 3, 7)]
  for block in _blocks(superglobal.BLOCKS[depth]):
    there, here = f"s{block.stage}.b{block.number}", _block_target(block)
    layers += _block_layers(
      block,
      here,
      {
        "reduce": (f"{there}.f.a.weight", f"{there}.f.a_bn"),
        "spatial": (f"{there}.f.b.weight", f"{there}.f.b_bn"),
        "expand": (f"{there}.f.c.weight", f"{there}.f.c_bn"),
        "project": (f"{there}.proj.weight", f"{there}.bn"),
      },
    )
  width = superglobal.DIMENSION
  layers.append(dense("whiten", "head.fc.weight", "head.fc.bias", width, width))
  layers.append(Layer("", {"head.pool.p": (1,)}, lambda power: {"pool_power": power}))
  return Architecture(
    tuple(layers),
    prefix="encoder_q.",
    own=tuple(f"encoder_q.{part}." for part in ("stem", "s1", "s2", "s3", "s4")),
    unused=("conv2ds.", "cv_learner.", *(f"encoder_q.se{part}." for part in ("b1", "b2", "fc"))),
    settings={"depth": str(depth)},
  )


def fire_architecture() -> Architecture:
  """Returns the network of FIRe in its checkpoint."""
  layers = [convolution("trunk/stem", "features.0.weight", "features.1", resnet.STEM_WIDTH, 3, 7)]
  for block in _blocks(fire.BLOCKS):
    # PyTorch numbers the blocks from 0, and conv, norm, ReLU and pooling before the stages.
    there, here = f"features.{block.stage + 3}.{block.number - 1}", _block_target(block)
    layers += _block_layers(
      block,
      here,
      {
        "reduce": (f"{there}.conv1.weight", f"{there}.bn1"),
        "spatial": (f"{there}.conv2.weight", f"{there}.bn2"),
        "expand": (f"{there}.conv3.weight", f"{there}.bn3"),
        "project": (f"{there}.downsample.0.weight", f"{there}.downsample.1"),
      },
    )
  width, hidden = fire.WIDTH, fire.HIDDEN_WIDTH
  # The layers of the recurrence lie in a module of their own.
  for module, name in (("", "inputs"), ("refinement/", "templates"), ("refinement/", "mlp")):
    layers.append(layer_norm(f"lit/{module}norm_{name}", f"lit.norm_{name}", width))
  for target, key in (("refinement/query", "q"), ("key", "k"), ("value", "v")):
    shapes = {f"lit.project_{key}.weight": (width, width)}
    layers.append(Layer(f"lit/{target}", shapes, lambda weight: {"kernel": weight.T}))
  layers += [
    Layer(
      "lit",
      {"lit.templates_init": (1, fire.NUM_TEMPLATES, width)},
      lambda values: {"templates": values[0]},
    ),
    dense("lit/refinement/hidden", "lit.mlp.0.weight", "lit.mlp.0.bias", hidden, width),
    dense("lit/refinement/output", "lit.mlp.2.weight", "lit.mlp.2.bias", width, hidden),
    Layer(
      "reduction",
      {
        "dim_reduction.weight": (fire.DIMENSION, width, 1, 1),
        "dim_reduction.bias": (fire.DIMENSION,),
      },
      lambda weight, bias: {"kernel": weight[:, :, 0, 0].T, "bias": bias},
    ),
  ]
  return Architecture(tuple(layers), own=("features.", "lit.", "dim_reduction."))


def lite0_architecture() -> Architecture:
  """Returns EfficientNet-Lite0 as converted for PyTorch, with its classifier."""
  fold = functools.partial(convolution, epsilon=_LITE0_EPSILON)
  layers = [fold("stem", "_conv_stem.weight", "_bn0", lite0.STEM_WIDTH, 3, 3)]
  number, width = 0, lite0.STEM_WIDTH
  for stage in lite0.STAGES:
    for _ in range(stage.num_blocks):
      there, here = f"_blocks.{number}", f"block{number}"
      inner = stage.expansion * width
      if stage.expansion > 1:
        keys = (f"{there}._expand_conv.weight", f"{there}._bn0")
        layers.append(fold(f"{here}/expand", *keys, inner, width, 1))
      keys = (f"{there}._depthwise_conv.weight", f"{there}._bn1")
      layers.append(
        depthwise(f"{here}/spatial", *keys, inner, stage.kernel, epsilon=_LITE0_EPSILON)
      )
      keys = (f"{there}._project_conv.weight", f"{there}._bn2")
      layers.append(fold(f"{here}/project", *keys, stage.width, inner, 1))
      number, width = number + 1, stage.width
  layers.append(fold("head", "_conv_head.weight", "_bn1", lite0.DIMENSION, width, 1))
  layers.append(dense("classifier", "_fc.weight", "_fc.bias", lite0.NUM_CLASSES, lite0.DIMENSION))
  own = ("_conv_stem.", "_bn0.", "_blocks.", "_conv_head.", "_bn1.", "_fc.")
  return Architecture(tuple(layers), own=own)


@dataclasses.dataclass(frozen=True)
class _Block:
  stage: int
  number: int
  width_in: int
  width: int


def _blocks(counts: Iterable[int]) -> Iterator[_Block]:
  width_in = resnet.STEM_WIDTH
  for stage, (count, width) in enumerate(zip(counts, resnet.WIDTHS, strict=False), start=1):
    for number in range(1, count + 1):
      yield _Block(stage, number, width_in, width)
      width_in = resnet.EXPANSION * width


def _block_target(block: _Block) -> str:
  return f"trunk/stage{block.stage}_block{block.number}"


def _block_layers(
  block: _Block, target: str, keys: Mapping[str, tuple[str, str]]
) -> Iterator[Layer]:
  inner, outer = block.width, resnet.EXPANSION * block.width
  sides = {"reduce": (inner, block.width_in, 1), "spatial": (inner, inner, 3)}
  sides["expand"] = (outer, inner, 1)
  if block.number == 1:
    sides["project"] = (outer, block.width_in, 1)
  for name, side in sides.items():
    yield convolution(f"{target}/{name}", *keys[name], *side)
