"""The networks in plain PyTorch; imported only where PyTorch is installed.

Tensors keep the keys of their checkpoint. SuperGlobal and FIRe compute batch norms as published;
those of EfficientNet-Lite0 are folded, so that its peer is the fastest.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch.nn import functional as F  # pyright: ignore[reportMissingImports]

# As published: SuperGlobal's floor of ReLU and powers of regional and global pooling; FIRe's
# iterations.
_RELUP_FLOOR = 0.014
_REGIONAL_POWER = 2.5
_POWER = 4.6
_NUM_ITERATIONS = 6
# Blocks of EfficientNet-Lite0 that halve the resolution.
_LITE0_STRIDED = (1, 3, 5, 11)


def place(state: Mapping[str, np.ndarray], *, channels_last: bool) -> dict[str, torch.Tensor]:
  """Moves the tensors of a checkpoint to PyTorch's device; 4-D ones may become channels last."""
  device = "cuda" if torch.cuda.is_available() else "cpu"
  tensors = {key: torch.from_numpy(array).to(device) for key, array in state.items()}
  if channels_last:
    for key, tensor in tensors.items():
      if tensor.ndim == 4:
        tensors[key] = tensor.contiguous(memory_format=torch.channels_last)
  return tensors


@torch.inference_mode()
def superglobal(
  state: Mapping[str, torch.Tensor], image: np.ndarray, scales: Sequence[float]
) -> np.ndarray:
  """Returns the feature `[2048]` of an input `[height, width, 3]`."""
  state = {key.removeprefix("encoder_q."): value for key, value in state.items()}
  whole = _to_tensor(image, state)
  vectors = []
  for scale in scales:
    size = [int(side * scale) for side in image.shape[:2]]
    resized = whole if scale == 1.0 else F.interpolate(whole, size, mode="bilinear")
    values = _stem(state, resized, "stem.conv", "stem.bn")
    for stage in range(1, 5):
      inner = _RELUP_FLOOR if stage == 1 else 0.0
      outer = _RELUP_FLOOR if stage < 4 else 0.0
      for block in range(1, 1 + _count(state, f"s{stage}.b{{}}.f.a.weight", 1)):
        name = f"s{stage}.b{block}"
        parts = [(f"{name}.f.{part}", f"{name}.f.{part}_bn") for part in "abc"]
        shortcut = (f"{name}.proj", f"{name}.bn")
        stride = 2 if stage > 1 and block == 1 else 1
        values = _bottleneck(state, values, parts, shortcut, stride, inner, outer)
    padded = F.pad(values, (2, 2, 2, 2), mode="reflect") / 25 ** (1 / _REGIONAL_POWER)
    values = 0.5 * values + 0.5 * F.lp_pool2d(padded, _REGIONAL_POWER, 5, stride=1)
    pooled = values.clamp(min=1e-8).pow(_POWER).mean(dim=(2, 3)).pow(1 / _POWER)
    whitened = F.linear(F.normalize(pooled), state["head.fc.weight"], state["head.fc.bias"])
    vectors.append(F.normalize(whitened))
  return F.normalize(torch.stack(vectors).amax(dim=0))[0].cpu().numpy()


@torch.inference_mode()
def fire(
  state: Mapping[str, torch.Tensor],
  image: np.ndarray,
  scales: Sequence[float],
  num_features: int = 1000,
) -> tuple[np.ndarray, np.ndarray]:
  """Returns descriptors `[count, 128]`, strongest first, and their numbers over all scales."""
  whole = _to_tensor(image, state)
  descriptors, strengths = [], []
  for scale in scales:
    resized = whole
    if scale != 1.0:
      resized = F.interpolate(
        whole, scale_factor=scale, mode="bilinear", recompute_scale_factor=False
      )
    values = _stem(state, resized, "features.0", "features.1")
    for stage in (4, 5, 6):
      for block in range(_count(state, f"features.{stage}.{{}}.conv1.weight", 0)):
        name = f"features.{stage}.{block}"
        parts = [(f"{name}.conv{part}", f"{name}.bn{part}") for part in (1, 2, 3)]
        shortcut = (f"{name}.downsample.0", f"{name}.downsample.1")
        stride = 2 if stage > 4 and block == 0 else 1
        values = _bottleneck(state, values, parts, shortcut, stride, 0.0, 0.0)
    templates = _templates(state, values.flatten(2).transpose(1, 2))
    strengths.append((templates.square().sum(dim=2) + 1e-10).sqrt()[0])
    weight = state["dim_reduction.weight"][:, :, 0, 0]
    descriptors.append(F.linear(templates[0], weight, state["dim_reduction.bias"]))
  order = torch.argsort(torch.cat(strengths), descending=True, stable=True)[:num_features]
  return torch.cat(descriptors)[order].cpu().numpy(), order.cpu().numpy()


Lite0Layers = Mapping[str, tuple[torch.Tensor, torch.Tensor]]


def fold_lite0(state: Mapping[str, torch.Tensor]) -> Lite0Layers:
  """Returns weight and bias of each convolution, by its key without `.weight`."""
  layers = {}
  for key, weight in state.items():
    if weight.ndim != 4:
      continue
    module, _, name = key.removesuffix(".weight").rpartition(".")
    is_second = name in ("_depthwise_conv", "_conv_head")
    norm = "_bn2" if name == "_project_conv" else "_bn1" if is_second else "_bn0"
    norm = f"{module}.{norm}" if module else norm
    factor = state[f"{norm}.weight"] / torch.sqrt(state[f"{norm}.running_var"] + 1e-3)
    bias = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * factor
    layers[key.removesuffix(".weight")] = weight * factor[:, None, None, None], bias
  return layers


@torch.inference_mode()
def lite0(layers: Lite0Layers, image: np.ndarray) -> np.ndarray:
  """Returns the feature `[1280]` of an image `[height, width, 3]` uint8."""
  values = torch.from_numpy(image).to(next(iter(layers.values()))[1].device)
  values = ((values.float() - 127) / 128).permute(2, 0, 1)[None]
  values = F.hardtanh(_convolve_same(layers, values, "_conv_stem", 2), 0.0, 6.0, inplace=True)
  number = 0
  while f"_blocks.{number}._project_conv" in layers:
    block, inner = f"_blocks.{number}", values
    if f"{block}._expand_conv" in layers:
      inner = F.conv2d(values, *layers[f"{block}._expand_conv"])
      inner = F.hardtanh(inner, 0.0, 6.0, inplace=True)
    stride = 2 if number in _LITE0_STRIDED else 1
    inner = _convolve_same(layers, inner, f"{block}._depthwise_conv", stride)
    inner = F.hardtanh(inner, 0.0, 6.0, inplace=True)
    inner = F.conv2d(inner, *layers[f"{block}._project_conv"])
    values = inner + values if stride == 1 and inner.shape == values.shape else inner
    number += 1
  values = F.hardtanh(F.conv2d(values, *layers["_conv_head"]), 0.0, 6.0, inplace=True)
  pooled = values.clamp(min=1e-6).pow(3.0).mean(dim=(2, 3)).pow(1.0 / 3.0)
  return F.normalize(pooled)[0].cpu().numpy()


def _convolve_same(
  layers: Lite0Layers, values: torch.Tensor, key: str, stride: int
) -> torch.Tensor:
  """Convolves, of each channel alone where there is one a kernel, padded as TensorFlow does."""
  weight, bias = layers[key]
  size = weight.shape[2]
  groups = values.shape[1] // weight.shape[1]
  margins = []
  for side in (values.shape[3], values.shape[2]):
    total = max((-(-side // stride) - 1) * stride + size - side, 0)
    margins += [total // 2, total - total // 2]
  if margins == [size // 2] * 4:
    return F.conv2d(values, weight, bias, stride, size // 2, groups=groups)
  return F.conv2d(F.pad(values, margins), weight, bias, stride, groups=groups)


def _to_tensor(image: np.ndarray, state: Mapping[str, torch.Tensor]) -> torch.Tensor:
  values = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)[None]))
  return values.to(next(iter(state.values())).device)


def _count(state: Mapping[str, torch.Tensor], pattern: str, first: int) -> int:
  """Returns how many blocks a stage has."""
  number = first
  while pattern.format(number) in state:
    number += 1
  return number - first


def _convolve(
  state: Mapping[str, torch.Tensor], values: torch.Tensor, conv: str, norm: str, stride: int
) -> torch.Tensor:
  weight = state[f"{conv}.weight"]
  values = F.conv2d(values, weight, stride=stride, padding=weight.shape[2] // 2)
  mean, variance = state[f"{norm}.running_mean"], state[f"{norm}.running_var"]
  return F.batch_norm(
    values, mean, variance, state[f"{norm}.weight"], state[f"{norm}.bias"], eps=1e-5
  )


def _stem(
  state: Mapping[str, torch.Tensor], images: torch.Tensor, conv: str, norm: str
) -> torch.Tensor:
  return F.max_pool2d(_convolve(state, images, conv, norm, 2).relu_(), 3, stride=2, padding=1)


def _bottleneck(
  state: Mapping[str, torch.Tensor],
  values: torch.Tensor,
  parts: Sequence[tuple[str, str]],
  shortcut: tuple[str, str],
  stride: int,
  inner: float,
  outer: float,
) -> torch.Tensor:
  reduce, spatial, expand = parts
  found = _convolve(state, values, *reduce, 1).clamp_(min=inner)
  found = _convolve(state, found, *spatial, stride).clamp_(min=inner)
  found = _convolve(state, found, *expand, 1)
  if f"{shortcut[0]}.weight" in state:
    values = _convolve(state, values, *shortcut, stride)
  return found.add_(values).clamp_(min=outer)


def _templates(state: Mapping[str, torch.Tensor], tokens: torch.Tensor) -> torch.Tensor:
  """Refines FIRe's templates by attention to the positions of a map `[1, L, 1024]`."""

  def norm(values: torch.Tensor, name: str) -> torch.Tensor:
    weight, bias = (state[f"lit.norm_{name}.{part}"] for part in ("weight", "bias"))
    return F.layer_norm(values, weight.shape, weight, bias, eps=1e-5)

  tokens = norm(tokens, "inputs")
  keys = F.linear(tokens, state["lit.project_k.weight"])
  values = F.linear(tokens, state["lit.project_v.weight"])
  templates = state["lit.templates_init"]
  for _ in range(_NUM_ITERATIONS):
    queries = F.linear(norm(templates, "templates"), state["lit.project_q.weight"])
    logits = keys @ (queries * templates.shape[2] ** -0.5).transpose(1, 2)
    attention = logits.softmax(dim=2) + 1e-8
    attention = attention / attention.sum(dim=1, keepdim=True)
    templates = templates + attention.transpose(1, 2) @ values
    hidden = norm(templates, "mlp")
    hidden = F.linear(hidden, state["lit.mlp.0.weight"], state["lit.mlp.0.bias"]).relu_()
    templates = templates + F.linear(hidden, state["lit.mlp.2.weight"], state["lit.mlp.2.bias"])
  return templates
