"""ALIKED in plain PyTorch, as fast as we know; imported only where PyTorch is installed.

Tensors keep the keys of their checkpoint; batch norms are folded. The score head's first layer is
applied to the levels before they are upsampled, and the feature map is made only where descriptors
read it: the same two savings as ours. torchvision's deformable convolution is used where it is
installed.
"""

import importlib.util
from collections.abc import Mapping

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch.nn import functional as F  # pyright: ignore[reportMissingImports]

_FACTORS = {2: 2, 3: 4, 4: 4}
_STRIDES = (1, 2, 8, 32)
_RADIUS = 2
_HAS_TORCHVISION = importlib.util.find_spec("torchvision") is not None

Layers = Mapping[str, torch.Tensor]


def fold(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
  """Folds the batch norms of a checkpoint into the convolutions before them."""
  folded = {key: value for key, value in state.items() if ".bn" not in key}
  for key in state:
    if not key.endswith(".running_mean"):
      continue
    norm = key.removesuffix(".running_mean")
    block, number = norm.split(".bn")
    plain = f"{block}.conv{number}"
    conv = plain if f"{plain}.weight" in state else f"{plain}.regular_conv"
    factor = state[f"{norm}.weight"] / torch.sqrt(state[f"{norm}.running_var"] + 1e-5)
    folded[f"{conv}.weight"] = state[f"{conv}.weight"] * factor[:, None, None, None]
    folded[f"{conv}.bias"] = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * factor
  return folded


@torch.inference_mode()
def aliked(layers: Layers, image: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns descriptors `[k, d]` and positions `[k, 2]`, x and y, strongest first.

  Args:
    layers: as `fold` makes them.
    image: `[height, width, 3]` uint8; sides are multiples of 32.
    count: the number k of key points.
  """
  device = layers["conv1.weight"].device
  values = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)[None])).to(device)
  finest, levels = _trunk(layers, values.float() / 255)
  scores = _scores(layers, finest, levels)
  positions = _key_points(scores, count)
  return _describe(layers, finest, levels, positions).cpu().numpy(), positions.cpu().numpy()


def _convolve(layers: Layers, values: torch.Tensor, name: str) -> torch.Tensor:
  weight = layers[f"{name}.weight"]
  return F.conv2d(values, weight, layers.get(f"{name}.bias"), padding=weight.shape[2] // 2)


def _trunk(layers: Layers, values: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
  """Returns the map of block 1, and levels 2 to 4."""
  values = F.selu(_convolve(layers, values, "block1.conv1"), inplace=True)
  finest = values = F.selu(_convolve(layers, values, "block1.conv2"), inplace=True)
  levels = []
  for number, factor in _FACTORS.items():
    convolve = _convolve if number == 2 else _convolve_deformably
    pooled = F.avg_pool2d(values, factor)
    hidden = F.selu(convolve(layers, pooled, f"block{number}.conv1"), inplace=True)
    values = convolve(layers, hidden, f"block{number}.conv2")
    values = values + _convolve(layers, pooled, f"block{number}.downsample")
    values = F.selu(values, inplace=True)
    levels.append(F.selu(_convolve(layers, values, f"conv{number}"), inplace=True))
  return finest, levels


def _convolve_deformably(layers: Layers, values: torch.Tensor, name: str) -> torch.Tensor:
  limit = max(values.shape[2:]) / 4
  offsets = _convolve(layers, values, f"{name}.offset_conv").clamp(-limit, limit)
  weight, bias = (layers[f"{name}.regular_conv.{part}"] for part in ("weight", "bias"))
  if _HAS_TORCHVISION:
    from torchvision.ops import deform_conv2d  # pyright: ignore[reportMissingImports]

    return deform_conv2d(values, offsets, weight, bias, padding=1)
  _, channels, height, width = values.shape
  taps = torch.arange(9, device=values.device)[:, None, None]
  rows = torch.arange(height, device=values.device)[None, :, None] - 1 + taps // 3
  columns = torch.arange(width, device=values.device)[None, None, :] - 1 + taps % 3
  rows, columns = rows + offsets[0, 0::2], columns + offsets[0, 1::2]
  table = F.pad(values[0], (1, 2, 1, 2)).permute(1, 2, 0).reshape(-1, channels)
  reads = _bilinear(table, (height, width), rows.reshape(9, -1), columns.reshape(9, -1))
  result = torch.einsum("tpc,otc->op", reads, weight.flatten(2).transpose(1, 2)) + bias[:, None]
  return result.reshape(1, -1, height, width)


def _bilinear(
  table: torch.Tensor, size: tuple[int, int], rows: torch.Tensor, columns: torch.Tensor
) -> torch.Tensor:
  """Reads a map with a margin of zeros, given as its rows of channels."""
  rows, columns = rows.clamp(-1, size[0]), columns.clamp(-1, size[1])
  top, left = rows.floor(), columns.floor()
  down, along = (rows - top)[..., None], (columns - left)[..., None]
  step = size[1] + 3
  index = (top.long() + 1) * step + left.long() + 1
  upper = torch.lerp(table[index], table[index + 1], along)
  return torch.lerp(upper, torch.lerp(table[index + step], table[index + step + 1], along), down)


def _scores(layers: Layers, finest: torch.Tensor, levels: list[torch.Tensor]) -> torch.Tensor:
  first, *others = layers["score_head.0.weight"].chunk(4, dim=1)
  total = F.conv2d(F.selu(_convolve(layers, finest, "conv1"), inplace=True), first)
  size = total.shape[2:]
  for level, part in zip(levels, others, strict=True):
    total += F.interpolate(F.conv2d(level, part), size, mode="bilinear", align_corners=True)
  for number in (2, 4, 6):
    total = _convolve(layers, F.selu(total, inplace=True), f"score_head.{number}")
  return total.sigmoid()


def _largest(values: torch.Tensor) -> torch.Tensor:
  return F.max_pool2d(values, 2 * _RADIUS + 1, stride=1, padding=_RADIUS)


def _key_points(scores: torch.Tensor, count: int) -> torch.Tensor:
  found = scores == _largest(scores)
  for _ in range(2):
    near = _largest(found.float()) > 0
    rest = torch.where(near, 0.0, scores)
    found |= (rest == _largest(rest)) & ~near
  inner = torch.zeros_like(scores)
  inner[..., _RADIUS:-_RADIUS, _RADIUS:-_RADIUS] = 1
  width = scores.shape[3]
  indices = (scores * found * inner).flatten().topk(count).indices
  pixels = torch.stack([indices // width, indices % width], dim=1)
  steps = torch.arange(-_RADIUS, _RADIUS + 1, device=scores.device)
  rows = pixels[:, 0, None, None] + steps[:, None]
  windows = scores.flatten()[rows * width + pixels[:, 1, None, None] + steps]
  weights = ((windows - windows.amax((1, 2), keepdim=True)) / 0.1).exp()
  total = weights.sum((1, 2))
  moves = [(weights * step).sum((1, 2)) / total for step in (steps, steps[:, None])]
  return pixels.flip(1) + torch.stack(moves, dim=1)


def _describe(
  layers: Layers, finest: torch.Tensor, levels: list[torch.Tensor], positions: torch.Tensor
) -> torch.Tensor:
  height, width = finest.shape[2:]
  tables = [level[0].permute(1, 2, 0).contiguous() for level in (finest, *levels)]

  def read(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    parts = [F.selu(F.linear(tables[0][rows, columns], layers["conv1.weight"][:, :, 0, 0]))]
    for table, stride in zip(tables[1:], _STRIDES[1:], strict=True):
      last = height // stride - 1, width // stride - 1
      y, x = rows * (last[0] / (height - 1)), columns * (last[1] / (width - 1))
      top, left = y.long().clamp(max=last[0]), x.long().clamp(max=last[1])
      bottom, right = (top + 1).clamp(max=last[0]), (left + 1).clamp(max=last[1])
      along, down = (x - left)[..., None], (y - top)[..., None]
      upper = torch.lerp(table[top, left], table[top, right], along)
      parts.append(
        torch.lerp(upper, torch.lerp(table[bottom, left], table[bottom, right], along), down)
      )
    return F.normalize(torch.cat(parts, dim=-1), dim=-1)

  taps = torch.arange(9, device=positions.device)
  corners = positions.long() - 1
  columns = corners[:, :1].clamp(0, width - 4) + taps % 3
  rows = corners[:, 1:].clamp(0, height - 4) + taps // 3
  patches = read(rows, columns).transpose(1, 2).reshape(len(positions), -1, 3, 3)
  weight, bias = (layers[f"desc_head.offset_conv.0.{part}"] for part in ("weight", "bias"))
  hidden = F.selu(F.conv2d(patches, weight, bias))
  weight, bias = (layers[f"desc_head.offset_conv.2.{part}"] for part in ("weight", "bias"))
  limit = max(height, width) / 4
  offsets = F.conv2d(hidden, weight, bias)[:, :, 0, 0].clamp(-limit, limit)
  along, down = offsets.chunk(2, dim=1)
  x, y = positions[:, :1] + along, positions[:, 1:] + down
  left, top = x.floor(), y.floor()
  total = torch.zeros(())
  for row, row_weight in ((top, 1 - (y - top)), (top + 1, y - top)):
    for column, column_weight in ((left, 1 - (x - left)), (left + 1, x - left)):
      inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
      found = read(row.long().clamp(0, height - 1), column.long().clamp(0, width - 1))
      total = total + found * (row_weight * column_weight * inside)[..., None]
  sampled = F.selu(F.linear(total, layers["desc_head.sf_conv.weight"][:, :, 0, 0]))
  return F.normalize(torch.einsum("kmc,mcd->kd", sampled, layers["desc_head.agg_weights"]), dim=1)
