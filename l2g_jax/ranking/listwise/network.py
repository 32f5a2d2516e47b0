"""The network over lists: layers of long short-term memory in both directions, a logit an image."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from l2g_jax.ranking.listwise.config import ListwiseConfig


class BiLstm(nn.Module):
  """The network, for B lists of n points each."""

  config: ListwiseConfig

  @nn.compact
  def __call__(self, values: jax.Array, counts: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the logits `[B, n]` of the points, and their last states `[B, n, 2 hidden_dim]`.

    Args:
      values: `[B, n, length + 2]`, see `ListInputs`.
      counts: `[B]` int32, how many points are valid; what comes after them is not read.
    """
    states = values
    for number in range(self.config.num_layers):
      states = _BothWays(self.config.hidden_dim, name=f"layer{number}")(states, counts)
    return nn.Dense(1, name="classifier")(states)[..., 0], states


class _BothWays(nn.Module):
  """A layer that runs along the list and back."""

  hidden_dim: int

  @nn.compact
  def __call__(self, values: jax.Array, counts: jax.Array) -> jax.Array:
    """Returns the states of both directions `[B, n, 2 hidden_dim]`."""
    forward = _Lstm(self.hidden_dim, name="forward")(values)
    # Turned within the valid points, so that the way back begins at the last of them.
    steps = jnp.arange(values.shape[1])[None, :]
    turned = jnp.where(steps < counts[:, None], counts[:, None] - 1 - steps, steps)[..., None]
    backward = _Lstm(self.hidden_dim, name="backward")(jnp.take_along_axis(values, turned, axis=1))
    return jnp.concatenate([forward, jnp.take_along_axis(backward, turned, axis=1)], axis=-1)


class _Lstm(nn.Module):
  """Long short-term memory along a list.

  Equal to `flax.linen.RNN(OptimizedLSTMCell)`, but the inputs of all steps are multiplied at once.
  """

  hidden_dim: int

  @nn.compact
  def __call__(self, values: jax.Array) -> jax.Array:
    """Returns the states `[B, n, hidden_dim]` of values `[B, n, .]`."""
    width = self.hidden_dim
    inputs = nn.Dense(4 * width, use_bias=False, name="inputs")(values)
    kernel = self.param("recurrent", nn.initializers.orthogonal(), (width, 4 * width))
    bias = self.param("bias", nn.initializers.zeros_init(), (4 * width,))

    def step(carry, inputs):
      cell, hidden = carry
      gates = inputs + jnp.matmul(hidden, kernel) + bias[None, :]
      entry, forget, change, output = jnp.split(gates, 4, axis=-1)
      cell = nn.sigmoid(forget) * cell + nn.sigmoid(entry) * jnp.tanh(change)
      hidden = nn.sigmoid(output) * jnp.tanh(cell)
      return (cell, hidden), hidden

    start = jnp.zeros((len(values), width), values.dtype)
    _, states = jax.lax.scan(step, (start, start), inputs.swapaxes(0, 1))
    return states.swapaxes(0, 1)
