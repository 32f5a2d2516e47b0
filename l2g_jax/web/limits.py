"""How much the web takes in and keeps."""

import dataclasses

from l2g_jax import settings


@dataclasses.dataclass(frozen=True)
class Limits:
  """How much the web takes in and keeps.

  Attributes:
    upload_bytes: the most bytes of an upload, at least 1.
    pixels: the most pixels of an upload, at least 1.
    decode_seconds: that the decoding of a picture may take, above 0.
    num_uploads: that are kept; the one unused for longest goes first.
    uploads_bytes: that kept uploads may take together.
    pictures_bytes: that reduced and turned pictures may take, each together.
  """

  upload_bytes: int = 64_000_000
  pixels: int = 200_000_000
  decode_seconds: float = 20.0
  num_uploads: int = 500
  uploads_bytes: int = 2_000_000_000
  pictures_bytes: int = 1_000_000_000

  def __post_init__(self):
    for name in ("upload_bytes", "pixels", "num_uploads", "uploads_bytes", "pictures_bytes"):
      settings.integer(name, getattr(self, name), least=1)
    settings.real("decode_seconds", self.decode_seconds, above=0.0)
