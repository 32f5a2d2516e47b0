import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2g_jax.data.image_names import ImageFinder, name_images, printable

COMPOSED = "caf\u00e9"
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)


@pytest.mark.parametrize(
  ("files", "names"),
  [
    (["a.jpg", "sub/b.PNG", "c.v2.webp"], ["a", "sub/b", "c.v2"]),
    (["IMG_3.JPG", "IMG_3.PNG", "IMG_4.JPG"], ["IMG_3.JPG", "IMG_3.PNG", "IMG_4"]),
    (["x/a.jpg", "y/a.png"], ["x/a", "y/a"]),
    # A name without its ending must not be another file's name with it.
    (["a.jpg", "a.jpg.png"], ["a", "a.jpg.png"]),
    (["a.jpg", "a.png", "a.jpg.png"], ["a.jpg", "a.png", "a.jpg.png"]),
    ([f"{DECOMPOSED}.jpg"], [COMPOSED]),
    ([f"{DECOMPOSED}.jpg", f"{COMPOSED}.png"], [f"{COMPOSED}.jpg", f"{COMPOSED}.png"]),
    # Two files that some file systems tell apart, and others don't.
    ([f"{DECOMPOSED}.jpg", f"{COMPOSED}.jpg"], [f"{DECOMPOSED}.jpg", f"{COMPOSED}.jpg"]),
    (["odd\udcff.jpg"], ["odd\udcff"]),
  ],
)
def test_names_keep_their_ending_where_it_tells_images_apart(files, names):
  assert name_images(files) == names


@given(st.sets(st.from_regex(r"[ae\u0301\u00e9](\.jpg|\.png|\.JPG){1,3}", fullmatch=True)))
def test_no_two_images_have_the_same_name(files):
  assert len(set(name_images(sorted(files)))) == len(files)


@pytest.mark.parametrize(
  ("files", "name", "found"),
  [
    (["a.jpg"], "a", "a.jpg"),
    (["a.jpg"], "a.jpg", "a.jpg"),
    (["a.JPG"], "a", "a.JPG"),
    (["a.JPG"], "a.jpg", "a.JPG"),
    (["A.webp"], "a", "A.webp"),
    (["sub/a.webp"], "sub/a", "sub/a.webp"),
    (["sub/a.webp"], "./sub/a", "sub/a.webp"),
    (["sub/a.webp"], "a", None),
    (["a.v2.avif"], "a.v2", "a.v2.avif"),
    (["a.jpg.png"], "a.jpg", "a.jpg.png"),
    ([f"{DECOMPOSED}.jpg"], COMPOSED, f"{DECOMPOSED}.jpg"),
    ([f"{COMPOSED}.jpg"], f"{DECOMPOSED}.JPG", f"{COMPOSED}.jpg"),
    (["a.png"], "a.jpg", None),
    # What is spelled as the name comes first, then the ending.
    (["a.png", "a.jpeg", "a.jpg"], "a", "a.jpg"),
    (["a.webp", "a.png", "a.jpeg"], "a", "a.jpeg"),
    (["A.jpg", "a.png"], "a", "a.png"),
    (["a.jpg", "A.png"], "A", "A.png"),
    (["a.jpg", "a.JPG"], "a.JPG", "a.JPG"),
  ],
)
def test_images_are_found_by_any_spelling_of_their_name(files, name, found):
  assert ImageFinder(files).find(name) == found


def test_texts_can_be_printed_on_a_line():
  assert printable("a\nb\x1b[2J\udcff\u00e9") == "a\\nb\\x1b[2J\\udcff\u00e9"
