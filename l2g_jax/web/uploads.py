"""Pictures that clients send, to search for them; they are kept for a while."""

import hashlib
import os
import pathlib
import re
import tempfile
import threading
from collections.abc import AsyncIterator

from l2g_jax.data.image_formats import endings, unread_kinds
from l2g_jax.data.image_names import printable
from l2g_jax.web import decoding
from l2g_jax.web.decoders import Decoders
from l2g_jax.web.decoding import Facts
from l2g_jax.web.failures import NOT_FOUND, TOO_LARGE, Refusal
from l2g_jax.web.found import Picture, stamp_of
from l2g_jax.web.kept_files import KeptFiles
from l2g_jax.web.limits import Limits

PREFIX = "u-"
_ID = re.compile(rf"{PREFIX}([0-9a-f]{{16}})")
_SHOWN = "The file that was sent"


class Uploads:
  """Uploads by the checksums of their contents."""

  def __init__(self, root: pathlib.Path, decoders: Decoders, limits: Limits):
    """Opens a folder of uploads.

    Args:
      root: the folder.
      decoders: look at what is sent.
      limits: of bytes and pixels.
    """
    self._kept = KeptFiles(root, most_bytes=limits.uploads_bytes, most_files=limits.num_uploads)
    self._decoders = decoders
    self._limits = limits
    self._names: dict[str, str] = {}
    self._lock = threading.Lock()

  async def receive(
    self, chunks: AsyncIterator[bytes], num_bytes: int | None, file_name: str
  ) -> "Received":
    """Writes what a client sends to a file, as it comes.

    Args:
      chunks: of the content.
      num_bytes: as the client says before; None = it does not.
      file_name: as the client has it; its ending says the format where the content does not.

    Raises:
      Refusal: there are too many bytes; the rest is not read.
    """
    self._check(num_bytes or 0)
    received = Received(self._kept.root, file_name)
    try:
      async for chunk in chunks:
        received.write(chunk)
        self._check(received.num_bytes)
    except BaseException:
      received.discard()
      raise
    received.finish()
    return received

  def keep(self, received: "Received") -> tuple[Picture, Facts]:
    """Looks at what was received, and keeps it if it is a picture.

    Raises:
      Refusal: it is no picture, too large, damaged, or takes too long to decode.
    """
    try:
      facts = self._decoders.run(decoding.inspect, received.path, _SHOWN, self._limits.pixels)
      name = received.digest + received.ending
      path = self._kept.make(name, received.path.replace)
    finally:
      received.discard()
    with self._lock:
      self._names[received.digest] = received.name
    return self._picture(path), facts

  def find(self, key: str) -> Picture:
    """Returns an upload by its identifier.

    Raises:
      Refusal: it is no identifier, or what it stood for is no longer kept.
    """
    match = _ID.fullmatch(key)
    if match:
      for path in self._kept.root.glob(f"{match[1]}.*"):
        if self._kept.find(path.name):
          return self._picture(path)
    raise Refusal(NOT_FOUND, "This picture is not kept any more; send it again.")

  def _picture(self, path: pathlib.Path) -> Picture:
    stamp = stamp_of(path)
    if stamp is None:
      raise Refusal(NOT_FOUND, "This picture is not kept any more; send it again.")
    digest = path.stem
    # It was noted when it was used last, which does not change what is made of it.
    stamp = (stamp[0], 0, 0, 0)
    return Picture(PREFIX + digest, self._names.get(digest, "a picture that was sent"), path, stamp)

  def _check(self, num_bytes: int) -> None:
    limit = self._limits.upload_bytes
    if num_bytes > limit:
      raise Refusal(TOO_LARGE, f"{_SHOWN} is too large; at most {limit / 1e6:g} MB are taken.")


class Received:
  """A file that is being received, under a name of its own until it is whole.

  Attributes:
    path: the file.
    name: as the client calls it.
    ending: of the name, if it says the format.
    num_bytes: that came so far.
  """

  def __init__(self, root: pathlib.Path, file_name: str):
    self.name = printable(file_name.replace("\\", "/").rpartition("/")[2])[-200:]
    ending = pathlib.PurePosixPath(self.name).suffix.lower()
    self.ending = ending if ending in endings() or ending in unread_kinds() else ".bin"
    self.num_bytes = 0
    self._digest = hashlib.blake2b(digest_size=8)
    # What a killed server leaves is counted among the kept, and goes when it is old.
    self._file = tempfile.NamedTemporaryFile(  # noqa: SIM115
      prefix="incoming-", suffix=self.ending, dir=root, delete=False
    )
    self.path = pathlib.Path(self._file.name)

  @property
  def digest(self) -> str:
    """The checksum of what came so far, 16 hexadecimal digits."""
    return self._digest.hexdigest()

  def write(self, chunk: bytes) -> None:
    """Adds to the file."""
    self._file.write(chunk)
    self._digest.update(chunk)
    self.num_bytes += len(chunk)

  def finish(self) -> None:
    """Makes the file whole on disk."""
    self._file.flush()
    os.fsync(self._file.fileno())

  def discard(self) -> None:
    """Removes the file, unless it was moved away."""
    self._file.close()
    self.path.unlink(missing_ok=True)
