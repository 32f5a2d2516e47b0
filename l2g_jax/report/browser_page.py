"""The part of a page that shows ranked lists, one query at a time, and the data that it reads."""

import json
from typing import Any

from l2g_jax.data.image_names import printable
from l2g_jax.report import templates
from l2g_jax.report.blocks import Browser, Fallen, Query, Result


def render(browser: Browser, key: str) -> str:
  """Returns the controls and the empty parts that the script fills.

  Args:
    browser: what they show.
    key: the identifier of its data on the page.
  """
  names = [("picture", False), ("positive", False), ("label", False)]
  names += [(stage, True) for stage in browser.stages]
  return templates.fill(
    "browser.html",
    key=key,
    note=f"<p>{templates.escape(browser.note)}</p>" if browser.note else "",
    reference=templates.escape(browser.reference),
    last=templates.escape(_last(browser)),
    scales=_scales(browser),
    matches="" if browser.least_matches is None else f'<p class="note">{_matches(browser)}</p>',
    heads="".join(templates.render_head(name, is_number=is_number) for name, is_number in names),
  )


def render_data(browser: Browser, key: str) -> str:
  """Returns the data as JSON that the script parses: once what all share, and each query alone.

  Args:
    browser: what is shown.
    key: the identifier of the data on the page.
  """
  shared = {
    "images": [
      [printable(image.name), _image_file(key, number), list(image.size)]
      for number, image in enumerate(browser.images)
    ],
    "stages": list(browser.stages),
    "queries": [printable(query.picture.name) for query in browser.queries],
    "scores": {name: printable(score) for name, score in browser.scores.items()},
    "least": browser.least_matches,
    "orders": [[name, list(order)] for name, order in browser.orders.items()],
  }
  parts = [_script(key, shared)]
  for number, query in enumerate(browser.queries):
    parts.append(_script(f"{key}-{number}", _query(query, _query_file(key, number))))
  return "\n".join(parts)


def picture_files(browser: Browser, key: str) -> dict[str, bytes]:
  """Returns the pictures by the names of their files in the folder, which never hold other names.

  Args:
    browser: what is shown.
    key: the identifier of its data on the page.
  """
  images = {_image_file(key, number): image for number, image in enumerate(browser.images)}
  images |= {_query_file(key, number): q.picture for number, q in enumerate(browser.queries)}
  return {name: picture.jpeg for name, picture in images.items()}


def _last(browser: Browser) -> str:
  """Returns the name of the last list, in which positives fall."""
  return [*browser.queries[0].lists][-1] if browser.queries else ""


def _scales(browser: Browser) -> str:
  """Returns what the scores mean and how high they reach."""
  if not browser.scales:
    return ""
  items = "".join(
    f"<dt>{templates.escape(name)}</dt><dd>{templates.escape(meaning)}</dd>"
    for name, meaning in browser.scales.items()
  )
  return (
    "<details><summary>What the scores mean</summary>\n"
    f'<dl class="inputs terms">{items}</dl></details>'
  )


def _matches(browser: Browser) -> str:
  has_fallen = any(query.fallen for query in browser.queries)
  fell = " and for the positives that fell most" if has_fallen else ""
  return (
    "Matches are of key points that one transform explains, and are computed for the first results"
    f" of {_last(browser)}{fell}. Fewer than {browser.least_matches} tell nothing: unrelated"
    " pictures have as many. The others say: not matched. Choose a result with matches to see them."
  )


def _image_file(key: str, number: int) -> str:
  return f"pictures/{key}-{number:05d}.jpg"


def _query_file(key: str, number: int) -> str:
  return f"pictures/{key}-query-{number:04d}.jpg"


def _query(query: Query, file: str) -> dict[str, Any]:
  return {
    "name": printable(query.picture.name),
    "file": file,
    "size": list(query.picture.size),
    "box": None if query.box is None else list(query.box),
    "facts": [list(fact) for fact in query.facts],
    "fallen": [_fallen(each) for each in query.fallen],
    "lists": [
      [name, [_result(result) for result in results]] for name, results in query.lists.items()
    ],
    "positives": [[image, label, list(ranks)] for image, label, ranks in query.positives],
    "matches": {
      image: [matches.count, matches.points.ravel().tolist()]
      for image, matches in query.matches.items()
    },
  }


def _fallen(fallen: Fallen) -> list[Any]:
  facts = [printable(fact) for fact in fallen.facts]
  return [*_result(fallen.result), fallen.rank, printable(fallen.reason), facts]


def _result(result: Result) -> list[Any]:
  score = None if result.score is None else round(result.score, 6)
  return [result.image, result.label, score, result.change]


def _script(key: str, value: Any) -> str:
  """Returns JSON that no word in it can end early."""
  text = json.dumps(value, separators=(",", ":"), allow_nan=False)
  for letter in "<>&":
    text = text.replace(letter, f"\\u{ord(letter):04x}")
  return f'<script type="application/json" id="{key}">{text}</script>'
