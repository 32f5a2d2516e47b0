"""Words that agree with their counts."""

from collections.abc import Sequence

_IRREGULAR = {"are": "is", "have": "has"}
_IRREGULAR_NOUNS = {"loss": "losses", "match": "matches", "query": "queries"}


def count(number: int, noun: str) -> str:
  """Returns a number and a noun, such as `1 image` or `2 images`."""
  return f"{number} {noun if number == 1 else _IRREGULAR_NOUNS.get(noun, f'{noun}s')}"


def verb(number: int, plural: str) -> str:
  """Returns a verb as it follows a number: `falls` after 1, `fall` after others."""
  return _IRREGULAR.get(plural, f"{plural}s") if number == 1 else plural


def enumerate_names(names: Sequence[str]) -> str:
  """Returns names as a sentence lists them: `a, b and c`."""
  return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)
