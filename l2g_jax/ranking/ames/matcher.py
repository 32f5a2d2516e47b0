"""Similarities of a query to the images of a shortlist by the network of AMES."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from numpy.typing import ArrayLike

from l2g_jax import settings
from l2g_jax.errors import InputError
from l2g_jax.ranking.ames.config import AmesConfig
from l2g_jax.ranking.ames.network import Ames

# Queries are padded to a multiple of this, so that few lengths are compiled.
_QUERY_STEP = 32
# Descriptors of pairs that are compared at a time: more are no faster on a CPU, and need memory.
_TOKENS = {"cpu": 1 << 11}
_MOST_TOKENS = 1 << 17


def similarities(
  params: Mapping[str, Any],
  query: ArrayLike,
  images: ArrayLike,
  *,
  config: AmesConfig,
  query_mask: ArrayLike | None = None,
  image_mask: ArrayLike | None = None,
  batch_size: int | None = None,
) -> np.ndarray:
  """Compares a query with images; what is made of the query alone is made once a batch.

  Norms and the order of descriptors do not matter. An image without a valid descriptor has a logit
  too. The two sides differ: as published, those of images are rounded to float16 on the way unless
  they are binarized, which changes a logit by some 1e-5.

  Args:
    params: parameters of `Ames`, as `interop.checkpoints.read_weights` returns them for `ames`.
    query: `[q, local_dim]` descriptors; the published setting has the 600 strongest.
    images: `[B, t, local_dim]` descriptors, padded to t; the published setting has the 50
      strongest. A new t is compiled anew.
    config: of the network.
    query_mask: `[q]` bool, False = padding; None = all are valid.
    image_mask: `[B, t]` bool, False = padding; None = all are valid.
    batch_size: number of images compared at once; None = the device's best.

  Returns:
    Logits `[B]` float32, of any sign; `shortlist.ensemble` makes scores of them.

  Raises:
    InputError: parameters of another network, shapes that do not fit, no descriptors, or a value
      that is not finite.

  Source: Suma et al., AMES, ECCV 2024.
  """
  _check_params(params, config)
  query, query_mask = _checked("query", query, query_mask, 2, config.local_dim)
  images, image_mask = _checked("images", images, image_mask, 3, config.local_dim)
  missing = -len(query) % _QUERY_STEP
  query = np.pad(query, ((0, missing), (0, 0)))[None]
  query_mask = np.pad(query_mask, (0, missing))[None]
  if batch_size is None:
    most = _TOKENS.get(jax.default_backend(), _MOST_TOKENS)
    batch_size = max(1, most // (query.shape[1] + images.shape[1]))
  size = min(settings.integer("batch_size", batch_size, least=1), len(images))
  params, query, query_mask = jax.device_put((params, query, query_mask))
  parts = []
  for start in range(0, len(images), size):
    # The last batch is filled up, so that no other size is compiled.
    rows = np.resize(np.arange(start, min(start + size, len(images))), size)
    parts.append(_compare(params, query, images[rows], query_mask, image_mask[rows], config))
  return np.concatenate(jax.device_get(parts))[: len(images)]


@functools.partial(jax.jit, static_argnames="config")
def _compare(params, query, images, query_mask, image_mask, config: AmesConfig) -> Any:
  return Ames(config).apply({"params": params}, query, images, query_mask, image_mask)


def _check_params(params: Mapping[str, Any], config: AmesConfig) -> None:
  """Refuses parameters of other sizes; Flax itself would pass over further layers."""
  binarized = "projection" in params["remap"]
  first = params["remap"]["projection" if binarized else "linear"]["kernel"]
  sizes = {
    "local_dim": first.shape[0],
    "binarized": binarized,
    "model_dim": first.shape[1],
    "num_layers": sum(name.startswith("layer") for name in params),
    "hidden_dim": params["layer0"]["hidden"]["kernel"].shape[1],
  }
  found = dataclasses.replace(config, **sizes)
  if found != config:
    raise InputError(f"The parameters are those of {found}, not of {config}.")


def _checked(
  name: str, descriptors: ArrayLike, mask: ArrayLike | None, rank: int, dimension: int
) -> tuple[np.ndarray, np.ndarray]:
  """Returns descriptors as float32 and their mask; raises InputError if they do not fit."""
  values = np.asarray(descriptors)
  if values.ndim != rank or values.shape[-1] != dimension or not values.size:
    wanted = "[q, {}]" if rank == 2 else "[B, t, {}]"
    raise InputError(
      f"The {name} must be descriptors {wanted.format(dimension)}, not {list(values.shape)}."
    )
  valid = np.ones(values.shape[:-1], bool) if mask is None else np.asarray(mask)
  if valid.shape != values.shape[:-1] or valid.dtype != bool:
    raise InputError(
      f"The mask of the {name} must be bool {list(values.shape[:-1])}, not {valid.dtype}"
      f" {list(valid.shape)}."
    )
  values = np.asarray(values, np.float32)
  if not np.all(np.isfinite(values)):
    raise InputError(f"The {name} hold a descriptor that is not finite.")
  return values, valid
