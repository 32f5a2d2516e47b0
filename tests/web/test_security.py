import pytest
from fastapi.testclient import TestClient

from l2g_jax.web.app import create_app
from l2g_jax.web.keeper import Keeper
from l2g_jax.web.security import HEADERS
from tests.web.conftest import BASE, collection_of, png, texture

TOKEN = "a-word-of-the-house"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
  """An application with a token, in front of a folder that does not matter."""
  root = tmp_path_factory.mktemp("guarded")
  (root / "empty").mkdir()
  return create_app(Keeper(collection_of(root / "empty", root / "work")), token=TOKEN, hosts=None)


def ask(app, address="/api/status", **options):
  # Without a context no thread starts.
  return TestClient(app, base_url=BASE, follow_redirects=False).get(address, **options)


@pytest.mark.fast
@pytest.mark.parametrize(
  "path",
  [
    "/api/pictures/../../../../etc/passwd",
    "/api/pictures/..%2f..%2f..%2fetc%2fpasswd",
    "/api/pictures/%2e%2e/%2e%2e/secret.png",
    "/api/pictures/%2fetc%2fpasswd",
    "/api/pictures/secret",
    "/api/images/..%5csecret.png",
    "/api/images/secret.png%00.png",
    "/api/pictures/u-*",
    "/api/pictures/u-%2e%2e%2fsecret",
    "/assets/../pages.py",
    "/assets/..%2fpages.py",
    "/assets/%2e%2e%2f%2e%2e%2fpages.py",
    "/secret.png",
  ],
)
def test_no_path_leads_to_a_file(client, path):
  answer = client.get(path)
  assert answer.status_code == 404
  assert set(answer.json()) == {"detail"}


def test_every_answer_has_the_headers(client, ids):
  addresses = ["/", "/api/status", f"/api/pictures/{ids['plain']}", "/api/none", "/none"]
  answers = [client.get(address) for address in addresses]
  answers += [client.post("/api/uploads", content=b""), client.delete("/api/status")]
  answers.append(client.get("/api/status", headers={"Host": "evil.example"}))
  for answer in answers:
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
  assert client.get("/api/status").headers["cache-control"] == "no-store"
  assert "unsafe" not in HEADERS["Content-Security-Policy"]


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "POST"])
def test_other_methods_are_not_allowed(client, ids, method):
  for address in ("/api/status", "/api/search", f"/api/pictures/{ids['plain']}"):
    assert client.request(method, address).status_code == 405


@pytest.mark.parametrize(
  "host", ["evil.example", "127.0.0.1.evil.example", "", "[::1", "localhost@x"]
)
def test_another_name_of_this_machine_is_refused(client, host):
  assert client.get("/api/status", headers={"Host": host}).status_code == 421


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8750", "127.0.0.1:99", "[::1]:8750"])
def test_the_names_of_loopback_are_answered(client, host):
  assert client.get("/api/status", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:8751"])
def test_another_site_can_not_send_pictures(client, origin):
  answer = client.post("/api/uploads", content=png(texture(1)), headers={"Origin": origin})
  assert answer.status_code == 403


def test_the_pages_of_the_server_can_send_pictures(client):
  answer = client.post("/api/uploads", content=png(texture(1)), headers={"Origin": BASE})
  assert answer.status_code == 200


def test_another_site_can_not_have_the_server_work(client, ids):
  asked = {"picture": ids["plain"]}
  for site, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 200)):
    answer = client.get("/api/search", params=asked, headers={"Sec-Fetch-Site": site})
    assert answer.status_code == status
  # A link to a page is followed.
  assert client.get("/", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200


def test_without_its_token_a_server_tells_nothing(guarded):
  for headers in ({}, {"Authorization": "Bearer wrong"}, {"Cookie": "l2g_token=wrong"}):
    for address in ("/", "/api/status", "/openapi.json", "/?token=wrong"):
      answer = ask(guarded, address, headers=headers)
      assert answer.status_code == 401
      assert "folder" not in answer.text
      assert TOKEN not in answer.text


def test_a_token_is_given_as_a_header_or_once_in_the_address(guarded):
  assert ask(guarded, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
  answer = ask(guarded, f"/search?picture=a&token={TOKEN}&turn=90")
  assert (answer.status_code, answer.headers["location"]) == (303, "/search?picture=a&turn=90")
  cookie = answer.headers["set-cookie"]
  assert "HttpOnly" in cookie
  assert "SameSite=Strict" in cookie
  assert ask(guarded, headers={"Cookie": cookie.split(";")[0]}).status_code == 200


def test_a_token_does_not_lead_to_another_server(guarded):
  answer = ask(guarded, f"{BASE}//evil.example/?token={TOKEN}")
  assert answer.headers["location"] == "/evil.example/"


def test_the_interface_is_described(client):
  paths = client.get("/openapi.json").json()["paths"]
  assert {"/api/status", "/api/search", "/api/uploads", "/api/export"} <= set(paths)
  assert client.get("/docs").status_code == 404
