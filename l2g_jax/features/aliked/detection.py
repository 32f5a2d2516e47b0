"""Key points of a score map: its strongest local maxima, located between pixels."""

import flax.struct
import jax
import jax.numpy as jnp

# Of non-maximum suppression and of the windows that locate a key point, in pixels.
RADIUS = 2
_TEMPERATURE = 0.1
# Maxima are sought in the blocks of so many pixels that hold the largest ones.
_BLOCK = 64


@flax.struct.dataclass
class Keypoints:
  """The key points of one image, strongest first.

  Attributes:
    positions: `[k, 2]` float32, row and column; whole numbers are centres of pixels.
    strengths: `[k]` float32, the score of the pixel, descending; ties go to the smaller index.
    pixels: `[k, 2]` int32, row and column of the pixel.
    valid: `[k]`; False pads where there are fewer maxima.
  """

  positions: jax.Array
  strengths: jax.Array
  pixels: jax.Array
  valid: jax.Array


def detect(scores: jax.Array, inside: jax.Array, inner: jax.Array, k: int) -> Keypoints:
  """Detects the key points of one image.

  Args:
    scores: `[height, width]` float32, at least 0.
    inside: `[height, width]`, true for the pixels of the image.
    inner: likewise, for those that may be key points.
    k: number of key points.
  """
  scores = jnp.where(inside, scores, -jnp.inf)
  height, width = scores.shape
  strengths, indices = top_k(jnp.where(inner & is_maximum(scores), scores, 0.0).ravel(), k)
  pixels = jnp.stack([indices // width, indices % width], axis=1)
  steps = jnp.arange(-RADIUS, RADIUS + 1)
  down, right = steps[None, :, None], steps[None, None, :]
  rows = jnp.clip(pixels[:, 0, None, None] + down, 0, height - 1)
  columns = jnp.clip(pixels[:, 1, None, None] + right, 0, width - 1)
  windows = scores.ravel().at[rows * width + columns].get(mode="promise_in_bounds")
  weights = jnp.exp((windows - jnp.max(windows, axis=(1, 2), keepdims=True)) / _TEMPERATURE)
  total = jnp.sum(weights, axis=(1, 2))
  moves = [jnp.sum(weights * step.astype(jnp.float32), axis=(1, 2)) for step in (down, right)]
  valid = strengths > 0
  moves = jnp.where(valid[:, None], jnp.stack(moves, axis=1) / total[:, None], 0.0)
  return Keypoints(pixels.astype(jnp.float32) + moves, strengths, pixels, valid)


def is_maximum(scores: jax.Array) -> jax.Array:
  """Returns the local maxima `[height, width]` of 5x5 windows.

  Windows without a maximum in reach are searched again, twice, without the pixels near a maximum.
  """
  found = scores == _window_maximum(scores)
  for _ in range(2):
    near = _window_maximum(found.astype(jnp.float32)) > 0
    rest = jnp.where(near, 0.0, scores)
    found |= (rest == _window_maximum(rest)) & ~near
  return found


def top_k(values: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
  """Returns the k largest values and their indices; ties go to the smaller index.

  Zeros pad where there are fewer values than k.

  Args:
    values: `[n]` float32, at least 0.
    k: number of values.
  """
  values = jnp.pad(values, (0, -len(values) % _BLOCK))
  blocks = values.reshape(-1, _BLOCK)
  # No block but the k with the largest maxima holds one of the k largest values.
  count = min(k, len(blocks))
  chosen = jnp.sort(jax.lax.top_k(jnp.max(blocks, axis=1), count)[1])
  candidates = blocks[chosen].ravel()
  candidates = jnp.pad(candidates, (0, max(0, k - len(candidates))))
  best, places = jax.lax.top_k(candidates, k)
  places = jnp.minimum(places, count * _BLOCK - 1)
  return best, chosen[places // _BLOCK] * _BLOCK + places % _BLOCK


def _window_maximum(values: jax.Array) -> jax.Array:
  """Returns the maximum of the 5x5 window around each pixel."""
  side = 2 * RADIUS + 1
  for window in ((side, 1), (1, side)):
    values = jax.lax.reduce_window(values, -jnp.inf, jax.lax.max, window, (1, 1), "SAME")
  return values
