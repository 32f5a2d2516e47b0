import io

import anyio
import numpy as np
import pytest
from PIL import ExifTags, Image

from l2g_jax.web.decoders import Decoders
from l2g_jax.web.failures import Refusal
from l2g_jax.web.limits import Limits
from l2g_jax.web.uploads import Uploads
from tests.web.conftest import png, texture


def opened(answer):
  assert answer.headers["content-type"] == "image/jpeg"
  return Image.open(io.BytesIO(answer.content))


def send(client, content, name=""):
  return client.post("/api/uploads", content=content, headers={"X-File-Name": name})


def test_pictures_are_reduced_and_never_the_file_itself(client, ids, folder):
  answer = client.get(f"/api/pictures/{ids['plain']}")
  assert opened(answer).size == (160, 120)
  assert answer.content != (folder / "plain.png").read_bytes()
  again = client.get(
    f"/api/pictures/{ids['plain']}", headers={"If-None-Match": answer.headers["etag"]}
  )
  assert (again.status_code, again.content) == (304, b"")


def test_a_picture_is_turned_and_then_mirrored(client, ids):
  answer = client.get(f"/api/pictures/{ids['plain']}", params={"turn": 90, "mirror": 1})
  expected = np.rot90(texture(0)[..., ::-1], -1)[:, ::-1]
  assert np.abs(np.asarray(opened(answer), float) - expected).mean() < 12


def test_a_large_jpeg_is_reduced_and_turned_by_its_exif(client):
  image = Image.fromarray(texture(50, (400, 900)))
  exif = Image.Exif()
  exif[ExifTags.Base.Orientation] = 6
  file = io.BytesIO()
  image.save(file, "JPEG", exif=exif)
  sent = send(client, file.getvalue(), "photo.jpg").json()
  assert (sent["width"], sent["height"]) == (400, 900)
  small = opened(client.get(f"/api/pictures/{sent['id']}"))
  assert max(small.size) == 256
  assert small.height > small.width
  expected = image.rotate(-90, expand=True).resize(small.size, Image.Resampling.BICUBIC)
  assert np.abs(np.asarray(small, float) - np.asarray(expected, float)).mean() < 12


def test_facts_of_a_picture(client, ids, folder):
  facts = client.get(f"/api/images/{ids['plain']}").json()
  size = (folder / "plain.png").stat().st_size
  assert (facts["width"], facts["height"], facts["bytes"]) == (160, 120, size)
  torn = client.get(f"/api/images/{ids['torn']}")
  assert torn.status_code == 422
  assert "torn is truncated or damaged" in torn.json()["detail"]


@pytest.mark.fast
def test_an_upload_is_known_by_its_content(client):
  content = png(texture(0))
  first = send(client, content, "../../my%20%22photo%22%0A.png").json()
  second = send(client, content, "other.png").json()
  assert first["id"] == second["id"]
  assert first["name"] == 'my "photo"\\n.png'
  assert client.get(f"/api/pictures/{first['id']}").status_code == 200
  found = client.get("/api/search", params={"picture": first["id"]}).json()["results"][0]
  assert (found["name"], found["copy"]) == ("plain", "the same file")


@pytest.mark.fast
def test_the_preview_in_a_raw_file_is_no_picture(client):
  file = io.BytesIO()
  Image.new("RGB", (160, 120)).save(file, "TIFF")
  assert send(client, file.getvalue(), "a.TIF").status_code == 200
  answer = send(client, file.getvalue(), "a.NEF")
  assert answer.status_code == 415
  assert "a camera's raw format (export" in answer.json()["detail"]


def bomb():
  file = io.BytesIO()
  Image.new("1", (20000, 20000)).save(file, "PNG")
  return file.getvalue()


@pytest.mark.parametrize(
  ("content", "status", "word"),
  [
    (b"", 415, "empty file"),
    (b"no picture at all", 415, "not an image"),
    (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "not an image"),
    (png(texture(1))[:3000], 422, "truncated or damaged"),
    (png(np.zeros((800, 800, 3), np.uint8)), 413, "at most 0.5 megapixels"),
    (bomb(), 413, "megapixels"),
    (bytes(200_001), 413, "at most 0.2 MB"),
  ],
  ids=["empty", "text", "svg", "torn", "large", "bomb", "many bytes"],
)
def test_what_is_no_fit_picture_is_refused(client, content, status, word):
  answer = send(client, content)
  assert answer.status_code == status
  assert word in answer.json()["detail"]
  assert "/" not in answer.json()["detail"]


def test_an_upload_without_a_length_is_refused_while_it_comes(tmp_path):
  sent = 0

  async def chunks():
    nonlocal sent
    while True:
      sent += 1
      yield bytes(50)

  uploads = Uploads(tmp_path, Decoders(1, 1.0), Limits(upload_bytes=200))
  with pytest.raises(Refusal, match="too large"):
    anyio.run(uploads.receive, chunks(), None, "a.jpg")
  assert sent == 5
  assert not list(tmp_path.glob("incoming-*"))


def test_unknown_pictures_are_not_found(client):
  for key in ("0" * 16, "u-" + "0" * 16, "u-../../x", "plain"):
    assert client.get(f"/api/images/{key}").status_code == 404
    assert client.get("/api/search", params={"picture": key}).status_code == 404


def test_a_linked_file_is_a_picture_of_the_folder(client, ids):
  # Its owner put the link there. No byte of the file goes out, only its picture.
  assert opened(client.get(f"/api/pictures/{ids['linked']}")).size == (160, 120)
