"""Checksums by which files and settings are known again: BLAKE2b of 128 bits, as hex digits."""

import hashlib
import json
import os
from typing import Any

_CHUNK_BYTES = 1 << 20


def new_digest() -> hashlib.blake2b:
  """Returns an empty digest; `hexdigest` gives the checksum of all that was added to it."""
  return hashlib.blake2b(digest_size=16)


def checksum_file(path: os.PathLike | str) -> str:
  """Returns the checksum of a file's content."""
  digest = new_digest()
  with open(path, "rb") as file:
    while chunk := file.read(_CHUNK_BYTES):
      digest.update(chunk)
  return digest.hexdigest()


def checksum_json(value: Any) -> str:
  """Returns the checksum of a JSON value's canonical text, for cache keys and manifests."""
  text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
  digest = new_digest()
  digest.update(text.encode())
  return digest.hexdigest()
