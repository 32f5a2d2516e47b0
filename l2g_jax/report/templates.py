"""Templates, style and script of a page, which lie in the folder `assets`, and escaped text."""

import base64
import hashlib
import html
import string
from importlib import resources

from l2g_jax.data.image_names import printable


def read(name: str) -> str:
  """Returns the text of an asset."""
  return resources.files("l2g_jax.report").joinpath("assets", name).read_text(encoding="utf-8")


def style() -> str:
  """Returns the style of a page."""
  return read("base.css") + read("page.css")


def checksum(text: str) -> str:
  """Returns the checksum by which a page's policy allows its own script or style."""
  return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def fill(name: str, **values: str) -> str:
  """Returns a template with its words replaced by HTML text."""
  return string.Template(read(name)).substitute(values)


def escape(text: str) -> str:
  """Returns a text as HTML shows it, also within an attribute."""
  return html.escape(printable(text))


def render_head(
  name: str, *, is_number: bool, help_text: str = "", is_sortable: bool = True
) -> str:
  """Returns the heading of a column: a button that sorts by it, or a plain word."""
  title = f' title="{escape(help_text)}"' if help_text else ""
  kind = ' class="number"' if is_number else ""
  tag, of_kind = ("button", ' type="button"') if is_sortable else ("span", "")
  return f'<th scope="col"{kind}><{tag}{of_kind}{title}>{escape(name)}</{tag}></th>'
