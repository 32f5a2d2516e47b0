"""Refusals of the web: a status of HTTP and a sentence."""

from l2g_jax.errors import InputError

BAD_REQUEST = 400
NOT_FOUND = 404
TOO_LARGE = 413
NO_PICTURE = 415
DAMAGED = 422
UNAVAILABLE = 503
TOO_SLOW = 504


class Refusal(InputError):
  """A request that can't be served.

  Attributes:
    status: of HTTP.
    sentence: says why.
  """

  def __init__(self, status: int, sentence: str):
    # A worker process hands it on pickled, by its arguments.
    super().__init__(status, sentence)
    self.status, self.sentence = status, sentence

  def __str__(self) -> str:
    return self.sentence
