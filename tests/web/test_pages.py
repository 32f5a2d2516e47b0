"""The shells of the pages and their assets, without a browser."""

import re

import fastapi
import pytest
from fastapi.testclient import TestClient

from l2g_jax.web import pages


@pytest.fixture(scope="module")
def client():
  app = fastapi.FastAPI()
  app.include_router(pages.router())
  return TestClient(app)


@pytest.mark.parametrize("address", ["/", "/search", "/compare", "/map", "/groups", "/left-out"])
def test_a_page_names_only_files_that_are_served_and_holds_no_script_or_style(client, address):
  page = client.get(address)
  assert page.headers["content-type"].startswith("text/html")
  named = re.findall(r'(?:src|href)="(/assets/[^"]+)"', page.text)
  assert any(name.endswith(".js") for name in named)
  assert {client.get(name).status_code for name in named} == {200}
  assert not re.search(r"<style|\sstyle=|<script(?! type=\"module\" src=)|\son\w+=", page.text)
  assert "http" not in page.text


def test_scripts_import_what_is_served(client):
  left, seen = {"home.js", "search.js", "compare.js", "map.js", "groups.js", "left_out.js"}, set()
  while left:
    name = left.pop()
    seen.add(name)
    script = client.get(f"/assets/{name}")
    assert script.headers["content-type"].startswith("text/javascript")
    left |= set(re.findall(r'(?:from|import) "\./([^"]+)"', script.text)) - seen
  assert {"box.js", "picture.js", "status.js"} <= seen


def test_a_browser_keeps_an_asset_until_it_changes(client):
  first = client.get("/assets/page.css")
  kept = client.get("/assets/page.css", headers={"If-None-Match": first.headers["etag"]})
  assert (first.status_code, kept.status_code, kept.content) == (200, 304, b"")


@pytest.mark.parametrize("name", ["base.html", "none.js", "..%2Fpages.py"])
def test_nothing_else_is_served(client, name):
  assert client.get(f"/assets/{name}").status_code == 404
