"""The parameters of requests that several routes share."""

from typing import Annotated

import fastapi

from l2g_jax.web.failures import BAD_REQUEST, Refusal
from l2g_jax.web.pictures import TURNS, Pictures
from l2g_jax.web.searching import Query, parse_box

Offset = Annotated[int, fastapi.Query(ge=0, le=1_000_000_000)]
Turn = Annotated[
  int, fastapi.Query(description="Clockwise, in degrees.", json_schema_extra={"enum": list(TURNS)})
]
Mirror = Annotated[bool, fastapi.Query(description="Mirrored left to right, after the turn.")]
Box = Annotated[
  str | None,
  fastapi.Query(
    description="x1,y1,x2,y2 in fractions of the picture as it is displayed; omitted: all of it."
  ),
]
Mirrors = Annotated[
  bool, fastapi.Query(description="Whether pictures are looked for in the mirror too.")
]


def check_turn(turn: int) -> None:
  """Refuses what is no quarter turn."""
  if turn not in TURNS:
    raise Refusal(BAD_REQUEST, f"turn must be one of {', '.join(map(str, TURNS))}.")


def read_query(
  pictures: Pictures, picture: str, box: str | None, turn: int, *, mirror: bool
) -> Query:
  """Returns what a request searches for.

  Raises:
    Refusal: there is no such picture, or a parameter is wrong.
  """
  check_turn(turn)
  return Query(pictures.find(picture), parse_box(box), turn, mirror)
