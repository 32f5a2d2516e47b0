"""Decoding of image files: limits of their size, and pixels of damaged files.

Images of up to 89 megapixels are decoded as they are. Larger ones are read at a reduced size:

- The decoder of JPEGs reduces them itself, up to 536 megapixels, and never holds the whole image. A
  progressive JPEG is held whole, and may have 268 megapixels.
- Other formats are decoded whole, in 4 bytes a pixel, up to 268 megapixels; then pixels are
  averaged.

Above 89 megapixels, and in a damaged file, an image with more than ten thousand pixels per byte of
the file is refused as a decompression bomb.

A damaged or truncated file is accepted if at least nine tenths of its pixels can be decoded. Pillow
reports only that a decoder stopped. To see how far it came, the file is decoded twice, in two ways
that differ where data are missing: into images of different values, or with different data behind
the end.
"""

import contextlib
import dataclasses
import io
import os
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageFile, JpegImagePlugin

from l2g_jax.data.image_formats import open_image

# Pillow warns above this limit.
MAX_WHOLE_PIXELS = 89_478_485
# 1 GiB in 4 bytes a pixel; phones make photographs of 200 megapixels.
MAX_PIXELS = 1 << 28
MAX_PIXELS_OF_JPEGS = 1 << 29
_MAX_PIXELS_PER_BYTE = 10_000
_LEAST_SHARE = 0.9

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_END_OF_JPEG = b"\xff\xd9"
# Exceptions that the decoders of Pillow raise for damaged files; RuntimeError is that of AVIF and
# WebP.
DAMAGE = (
  OSError,
  SyntaxError,
  ValueError,
  EOFError,
  IndexError,
  KeyError,
  TypeError,
  RuntimeError,
  struct.error,
)


class TooLargeError(Exception):
  """An image is larger than the limits; the message names both."""


class DamagedError(Exception):
  """Too much of an image can't be decoded; the message gives the share that can."""


class SizedFile(io.BufferedReader):
  """A file whose reads never ask for more bytes than it has.

  Python allocates as much memory as a read asks for, and Pillow asks for the lengths that a file
  claims for its parts.

  Attributes:
    num_bytes: size of the file.
  """

  def __init__(self, path: os.PathLike | str):
    """Opens a file for reading."""
    super().__init__(open(path, "rb", buffering=0))  # noqa: SIM115
    self.num_bytes = os.fstat(self.fileno()).st_size

  def read(self, size: int | None = -1, /) -> bytes:
    """Returns the next bytes, at most `size` where it is not negative."""
    left = max(0, self.num_bytes - self.tell())
    return super().read(left if size is None or size < 0 else min(size, left))


@dataclasses.dataclass(frozen=True)
class Decoded:
  """A decoded image.

  Attributes:
    image: its pixels.
    size: width and height in the file's own pixels, before any reduction.
    drafted: side of the square of file pixels that the decoder made one pixel of the image.
    whole: whether every pixel was decoded from the file.
    wide: `[height, width, 3 or 4]` uint16, RGB and maybe alpha, if the colours of the file have
      more than 8 bits, of which `image` has only the upper 8; else None.
  """

  image: Image.Image
  size: tuple[int, int]
  drafted: int
  whole: bool
  wide: np.ndarray | None = None

  @property
  def reduction(self) -> int:
    """Factor by which both sides have still to be reduced, to at most 89 megapixels."""
    return _reduction(self.image.size)


def decode(file: SizedFile, ending: str) -> Decoded:
  """Decodes the first picture of an image file.

  Args:
    file: the file.
    ending: ending of its name, see `open_image`.

  Raises:
    TooLargeError: the image is larger than the limits.
    DamagedError: too much of it can't be decoded.
    UnidentifiedImageError: the file is no image.
    OSError: the file can't be read, if there is an `errno`; else it is damaged.
  """
  try:
    image = open_image(file, ending)
    drafted, size = _prepare(image, file.num_bytes)
    is_wide = _is_wide(image)
    image.load()
  except DAMAGE as error:
    if isinstance(error, OSError) and error.errno is not None:
      raise
    file.seek(0)
    return _decode_what_is_left(file.read(), ending, error)
  wide = _decode_wide(file, image.size) if is_wide else None
  return Decoded(image, size if drafted > 1 else image.size, drafted, whole=True, wide=wide)


def _is_wide(image: ImageFile.ImageFile) -> bool:
  """Returns whether an image has colours of more than 8 bits, of which Pillow keeps only 8."""
  if image.mode not in ("RGB", "RGBA", "LA") or _reduction(image.size) > 1:
    return False
  arguments = [image.tile[0].args] if image.tile else []
  layout = arguments[0] if arguments and isinstance(arguments[0], tuple) else arguments
  return any(
    ";16" in part if isinstance(part, str) else image.format == "PPM" and part > 255
    for part in layout
    if isinstance(part, str | int)
  )


def _decode_wide(file: SizedFile, size: tuple[int, int]) -> np.ndarray | None:
  """Decodes colours of 16 bits, see `Decoded.wide`; None if OpenCV does not know the format."""
  import cv2  # The import is slow, and few images need it.

  file.seek(0)
  with contextlib.suppress(cv2.error):
    values = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    if values is not None and values.dtype == np.uint16 and values.ndim == 3:
      # OpenCV orders colours as blue, green, red.
      values = values[:, :, [2, 1, 0, 3][: values.shape[2]]]
      return values if values.shape[:2] == (size[1], size[0]) else None
  return None


def _prepare(image: ImageFile.ImageFile, num_bytes: int) -> tuple[int, tuple[int, int]]:
  """Checks the size of an image and lets its decoder reduce it; returns the factor and the size."""
  size = image.size
  pixels = size[0] * size[1]
  if pixels <= MAX_WHOLE_PIXELS:
    return 1, size
  is_jpeg = isinstance(image, JpegImagePlugin.JpegImageFile)
  limit = MAX_PIXELS_OF_JPEGS if is_jpeg and "progressive" not in image.info else MAX_PIXELS
  if pixels > limit:
    raise TooLargeError(
      f"{size[0]} x {size[1]} pixels, at most {limit // 1_000_000} megapixels are; make it smaller"
    )
  _check_not_a_bomb(size, num_bytes)
  if is_jpeg:
    drafted = next((n for n in (2, 4) if _reduction(size) <= n), 8)
    image.draft(None, (size[0] // drafted, size[1] // drafted))
    return drafted, size
  # Given an image, Pillow does not apply its own, lower limit to a TIFF.
  _fill(image, 0)
  return 1, size


def _check_not_a_bomb(size: tuple[int, int], num_bytes: int) -> None:
  if size[0] * size[1] > _MAX_PIXELS_PER_BYTE * num_bytes:
    raise TooLargeError(f"{size[0]} x {size[1]} pixels in {num_bytes} bytes are no photograph")


def _reduction(size: tuple[int, int]) -> int:
  """Returns the least factor by which both sides are reduced to at most 89 megapixels."""
  reduction = 1
  while -(-size[0] // reduction) * -(-size[1] // reduction) > MAX_WHOLE_PIXELS:
    reduction += 1
  return reduction


def _fill(image: ImageFile.ImageFile, value: int) -> None:
  """Gives an image the pixels that stay where its file has no data."""
  # A TIFF is turned after it was decoded: its pixels still lie as in the file.
  size = getattr(image, "_tile_size", image.size)
  image.im = Image.new(image.mode, size, value).im


def _decode_what_is_left(content: bytes, ending: str, error: Exception) -> Decoded:
  """Decodes a damaged file if enough of it is left; `error` is the exception of the decoder."""
  try:
    is_jpeg = content.startswith(b"\xff\xd8")
    first, second = (_decode_jpeg_twice if is_jpeg else _decode_twice)(content, ending)
    share = _share_of_equals(first, second)
  except DAMAGE:
    raise error from None
  if share < _LEAST_SHARE:
    raise DamagedError(
      f"{int(100 * share)}% of its pixels can be decoded, {_LEAST_SHARE:.0%} are needed"
    ) from error
  return first


def _decode_twice(content: bytes, ending: str) -> tuple[Decoded, Decoded]:
  """Decodes a file into two images of different values."""
  if content.startswith(_PNG_SIGNATURE):
    content = b"".join(_intact_chunks(content))
  images = []
  for value in (0, 255):
    image = open_image(io.BytesIO(content), ending)
    _check_not_a_bomb(image.size, len(content))
    _prepare(image, len(content))
    _fill(image, value)
    with contextlib.suppress(*DAMAGE):
      image.load()
    if image.tile:
      # The decoder stopped: its pixels are kept, and a TIFF is turned.
      image.tile = []
      with contextlib.suppress(*DAMAGE):
        image.load_end()
    images.append(Decoded(image, image.size, 1, whole=False))
  return images[0], images[1]


def _intact_chunks(content: bytes) -> Iterator[bytes]:
  """Yields the parts of a PNG except optional chunks that are damaged."""
  yield _PNG_SIGNATURE
  start = len(_PNG_SIGNATURE)
  while start + 8 <= len(content):
    length, kind = struct.unpack(">I4s", content[start : start + 8])
    chunk = content[start : start + 12 + length]
    is_needed = kind[:1].isupper()
    if is_needed or chunk[-4:] == struct.pack(">I", zlib.crc32(chunk[4:-4])):
      yield chunk
    start += 12 + length


def _decode_jpeg_twice(content: bytes, ending: str) -> tuple[Decoded, Decoded]:
  """Decodes a JPEG with an end added, and again with other data before that end."""
  if not _has_all_scans(content):
    raise DamagedError("it lacks its last scans")
  content = content.rstrip(b"\xff")
  other = np.random.default_rng(0).integers(0, 255, 4096, np.uint8).tobytes()
  images = []
  for tail in (b"", other):
    image = open_image(io.BytesIO(content + tail + _END_OF_JPEG), ending)
    _check_not_a_bomb(image.size, len(content))
    drafted, size = _prepare(image, len(content))
    image.load()
    images.append(Decoded(image, size, drafted, whole=False))
  return images[0], images[1]


def _has_all_scans(content: bytes) -> bool:
  """Returns whether the scans of a JPEG, however short the last, have all bits of coefficients."""
  missing: dict[int, set[int]] = {}
  start = 2
  while start + 4 <= len(content):
    marker, length = content[start + 1], int.from_bytes(content[start + 2 : start + 4])
    body = content[start + 4 : start + 2 + length]
    if marker in (0xC0, 0xC1, 0xC2) and len(body) >= 6:
      missing = {body[6 + 3 * i]: set(range(64)) for i in range(body[5]) if 6 + 3 * i < len(body)}
    start += 2 + length
    if marker != 0xDA:
      continue
    if not body or len(body) < 4 + 2 * body[0]:
      return False
    first, last, bits = body[-3:]
    for i in range(body[0]):
      if bits & 15 == 0:
        missing.get(body[1 + 2 * i], set()).difference_update(range(first, last + 1))
    # In the data of a scan, zero or a restart follows the byte FF.
    while (start := content.find(b"\xff", start)) >= 0:
      if start + 1 >= len(content) or content[start + 1] not in (0, 0xFF, *range(0xD0, 0xD8)):
        break
      start += 1 + (content[start + 1] != 0xFF)
    if start < 0:
      break
  return not any(missing.values())


def _share_of_equals(first: Decoded, second: Decoded) -> float:
  """Returns the share of pixels on which two decoded images agree.

  A JPEG is coded block after block, so pixels count only before the first block that differs.
  """
  one, two = (np.asarray(decoded.image) for decoded in (first, second))
  if one.shape != two.shape:
    return 0.0
  height, width = one.shape[:2]
  differs = (one != two).reshape(height, width, -1).any(axis=2)
  if not isinstance(first.image, JpegImagePlugin.JpegImageFile) or not differs.any():
    return 1 - float(differs.mean())
  blocks = max(int(layer[2]) for layer in first.image.layer) if first.image.layers > 1 else 1
  row = int(differs.any(axis=1).argmax())
  rows = min(max(1, 8 * blocks // first.drafted), height - row)
  column = int(differs[row : row + rows].any(axis=0).argmax())
  return (row * width + rows * column) / (height * width)
