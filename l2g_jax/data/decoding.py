"""Decoding of image files: how large they may be, and what is done with those that are cut short.

Images of up to 89 megapixels are decoded as they are. Larger ones are read at a reduced size: JPEGs
of up to 536 megapixels by their decoder, which then never holds the whole image (progressive ones
hold it, and may have half as much); other formats of up to 268 megapixels are decoded whole, in 4
bytes a pixel, and their pixels averaged. Beyond the first limit, and where a file is damaged, an
image of which a byte of the file stands for more than ten thousand pixels is no photograph but a
bomb.

A file that is cut short or damaged counts if at least nine tenths of its pixels can be decoded.
Pillow tells only that a decoder stopped. How far it came is seen by decoding twice in a way that
differs where there are no data: into images of other values, or with other data behind the end.
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

# The limit above which Pillow warns.
MAX_WHOLE_PIXELS = 89_478_485
_MAX_PIXELS = 1 << 28
_MAX_PIXELS_OF_JPEGS = 1 << 29
_MAX_PIXELS_PER_BYTE = 10_000
_LEAST_SHARE = 0.9

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_END_OF_JPEG = b"\xff\xd9"
# What Pillow's decoders raise of damaged files.
# RuntimeError is what the decoders of AVIF and WebP raise.
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
  """An image is beyond the limits; the message says by how much."""


class DamagedError(Exception):
  """Too much of an image can't be decoded; the message says how much."""


class SizedFile(io.BufferedReader):
  """A file of which no more is asked for than it has.

  Python sets memory aside for as much as is asked for, and Pillow asks for what a file says of the
  length of its parts.

  Attributes:
    num_bytes: its size.
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
    size: width and height that the file gives, before any reduction.
    drafted: how many of the file's pixels, across and down, are one of the image's.
    whole: whether every pixel is the file's.
    wide: `[height, width, 3 or 4]` uint16, RGB and maybe alpha, of a file whose colours have more
      than 8 bits, of which the image has the upper 8; None = the image has all there is.
  """

  image: Image.Image
  size: tuple[int, int]
  drafted: int
  whole: bool
  wide: np.ndarray | None = None

  @property
  def reduction(self) -> int:
    """By how much the image has still to be reduced to keep within the first limit."""
    return _reduction(self.image.size)


def decode(file: SizedFile, ending: str) -> Decoded:
  """Decodes the first picture of an image file.

  Args:
    file: its content.
    ending: of its name, see `open_image`.

  Raises:
    TooLargeError: it is beyond the limits.
    DamagedError: too much of it can't be decoded.
    UnidentifiedImageError: it is no image.
    OSError: with an `errno` where the file can't be read.
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
  """Whether an image has colours of more than 8 bits, of which Pillow keeps the upper 8."""
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
  """Decodes colours of 16 bits, see `Decoded.wide`; None where OpenCV does not know the format."""
  import cv2  # It takes long, and few images need it.

  file.seek(0)
  with contextlib.suppress(cv2.error):
    values = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    if values is not None and values.dtype == np.uint16 and values.ndim == 3:
      # OpenCV's order is blue, green, red.
      values = values[:, :, [2, 1, 0, 3][: values.shape[2]]]
      return values if values.shape[:2] == (size[1], size[0]) else None
  return None


def _prepare(image: ImageFile.ImageFile, num_bytes: int) -> tuple[int, tuple[int, int]]:
  """Checks an image's size and lets its decoder reduce it; returns by how much, and the size."""
  size = image.size
  pixels = size[0] * size[1]
  if pixels <= MAX_WHOLE_PIXELS:
    return 1, size
  is_jpeg = isinstance(image, JpegImagePlugin.JpegImageFile)
  limit = _MAX_PIXELS_OF_JPEGS if is_jpeg and "progressive" not in image.info else _MAX_PIXELS
  if pixels > limit:
    raise TooLargeError(
      f"{size[0]} x {size[1]} pixels, at most {limit // 1_000_000} megapixels are; make it smaller"
    )
  _check_not_a_bomb(size, num_bytes)
  if is_jpeg:
    drafted = next((n for n in (2, 4) if _reduction(size) <= n), 8)
    image.draft(None, (size[0] // drafted, size[1] // drafted))
    return drafted, size
  # Pillow has a lower limit of its own where it makes a TIFF's image itself.
  _fill(image, 0)
  return 1, size


def _check_not_a_bomb(size: tuple[int, int], num_bytes: int) -> None:
  if size[0] * size[1] > _MAX_PIXELS_PER_BYTE * num_bytes:
    raise TooLargeError(f"{size[0]} x {size[1]} pixels in {num_bytes} bytes are no photograph")


def _reduction(size: tuple[int, int]) -> int:
  """Returns the least number by which both sides are divided to keep within the first limit."""
  reduction = 1
  while -(-size[0] // reduction) * -(-size[1] // reduction) > MAX_WHOLE_PIXELS:
    reduction += 1
  return reduction


def _fill(image: ImageFile.ImageFile, value: int) -> None:
  """Gives an image the pixels that are seen where nothing is decoded."""
  # The pixels of a TIFF that is to be turned lie as they are in the file.
  size = getattr(image, "_tile_size", image.size)
  image.im = Image.new(image.mode, size, value).im


def _decode_what_is_left(content: bytes, ending: str, error: Exception) -> Decoded:
  """Decodes a damaged file if enough of it is there; `error` is why it could not be decoded."""
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
  """Decodes into two images of different values."""
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
      # What is decoded is kept; a TIFF is turned here.
      image.tile = []
      with contextlib.suppress(*DAMAGE):
        image.load_end()
    images.append(Decoded(image, image.size, 1, whole=False))
  return images[0], images[1]


def _intact_chunks(content: bytes) -> Iterator[bytes]:
  """Yields a PNG without those chunks that are damaged and not needed."""
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
  """Decodes with an end behind what is there, and with other data before that end."""
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
  """Whether the last scan of a JPEG has at least begun: all coefficients in all their bits."""
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
    # In a scan's data the byte FF is followed by zero or a restart.
    while (start := content.find(b"\xff", start)) >= 0:
      if start + 1 >= len(content) or content[start + 1] not in (0, 0xFF, *range(0xD0, 0xD8)):
        break
      start += 1 + (content[start + 1] != 0xFF)
    if start < 0:
      break
  return not any(missing.values())


def _share_of_equals(first: Decoded, second: Decoded) -> float:
  """Returns the share of pixels on which two decoded images agree.

  Of a JPEG, whose data come block after block, those before the first block that differs.
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
