"""Pictures as they are shown and searched for: made small, or turned, and kept on disk."""

import pathlib
from collections.abc import Collection

from l2g_jax.errors import InputError
from l2g_jax.web import decoding
from l2g_jax.web.decoders import Decoders
from l2g_jax.web.failures import DAMAGED, NOT_FOUND, Refusal
from l2g_jax.web.found import Picture
from l2g_jax.web.keeper import Keeper
from l2g_jax.web.kept_files import KeptFiles
from l2g_jax.web.limits import Limits
from l2g_jax.web.memo import Memo
from l2g_jax.web.uploads import PREFIX, Uploads

SIDES = (256, 1024, 2048)
TURNS = (0, 90, 180, 270)
_FACTS_KEPT = 10_000


class Pictures:
  """Finds pictures by their identifiers, and makes what is shown of them."""

  def __init__(
    self,
    root: pathlib.Path,
    keeper: Keeper,
    uploads: Uploads,
    decoders: Decoders,
    limits: Limits,
  ):
    """Opens the folders of what is kept.

    Args:
      root: the folder for all of it.
      keeper: knows what is in the collection's folder.
      uploads: what clients sent.
      decoders: decode pictures.
      limits: of what is kept.
    """
    self._keeper, self._uploads, self._decoders = keeper, uploads, decoders
    self._reduced = KeptFiles(root / "reduced", most_bytes=limits.pictures_bytes)
    self._turned = KeptFiles(root / "turned", most_bytes=limits.pictures_bytes)
    self._facts: Memo[str, decoding.Facts] = Memo(_FACTS_KEPT)

  def find(self, key: str) -> Picture:
    """Returns a picture of the folder, or one that was sent.

    Raises:
      Refusal: there is none with this identifier.
    """
    if key.startswith(PREFIX):
      return self._uploads.find(key)
    picture = self._keeper.found().pictures.get(key)
    if picture is None:
      raise Refusal(NOT_FOUND, "There is no such picture in the folder.")
    return picture

  def present(self) -> Collection[Picture]:
    """Returns the pictures of the folder, by name."""
    return self._keeper.found().pictures.values()

  def reduced(self, picture: Picture, side: int, turn: int, *, mirror: bool) -> bytes:
    """Returns a JPEG of a picture, turned clockwise and then mirrored.

    Args:
      picture: the picture.
      side: the longer side in pixels, at most.
      turn: in degrees.
      mirror: whether it is mirrored left to right.

    Raises:
      Refusal: it can't be read.
    """
    name = f"{picture.key}-{side}-{turn}{'m' if mirror else ''}.jpg"
    path = self._reduced.find(name)
    if path is None:
      path = self._reduced.make(
        name,
        lambda path: self._decode(
          picture, decoding.write_reduced, picture.path, side, turn, mirror, path
        ),
      )
    try:
      return path.read_bytes()
    except FileNotFoundError:
      raise Refusal(NOT_FOUND, "The picture is no longer there; load the page again.") from None

  def file(self, picture: Picture, turn: int, *, mirror: bool) -> pathlib.Path:
    """Returns a file of a picture as it is displayed, without loss; see `decoding.turned`.

    Raises:
      Refusal: it can't be read.
    """
    if not turn and not mirror:
      return picture.path
    return self._turned.make(
      f"{picture.key}-{turn}{'m' if mirror else ''}.bmp",
      lambda path: self._decode(picture, decoding.write_turned, picture.path, turn, mirror, path),
    )

  def facts(self, picture: Picture) -> decoding.Facts:
    """Returns what is known of a picture once it was decoded.

    Raises:
      Refusal: it can't be read.
    """
    return self._facts.get(
      picture.key, lambda: self._decode(picture, decoding.look_at, picture.path)
    )

  def _decode(self, picture: Picture, function, *arguments):
    """Runs a function in a worker; its sentences name the picture, and never its path."""
    try:
      return self._decoders.run(function, *arguments)
    except Refusal:
      raise
    except InputError as error:
      sentence = str(error).replace(str(picture.path), picture.name)
      raise Refusal(DAMAGED, sentence) from None
