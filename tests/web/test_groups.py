import csv
import io

from tests.web.conftest import wait_for


def test_groups_are_found_when_they_are_asked_for(client, ids):
  codes = []

  def is_ready():
    answer = client.get("/api/groups")
    codes.append(answer.status_code)
    return answer.status_code == 200

  early = client.get("/api/groups/export", params={"format": "csv"})
  assert early.status_code == 503
  assert wait_for(is_ready)
  assert set(codes[:-1]) <= {202}
  answer = client.get("/api/groups").json()
  assert answer["state"] == "ready"
  (group,) = [group for group in answer["groups"] if group["kind"] == "part"]
  assert answer["total"] == len(answer["groups"])
  assert [member["name"] for member in group["members"]] == ["plain", "part"]
  assert [member["is_best"] for member in group["members"]] == [True, False]
  (relation,) = group["relations"]
  assert (relation["kind"], relation["is_inset"], relation["is_within"]) == ("part", False, True)
  assert {relation["first"], relation["second"]} == {ids["plain"], ids["part"]}
  table = client.get("/api/groups/export", params={"format": "csv"}).text
  rows = list(csv.DictReader(io.StringIO(table)))
  told = {(row["file"], row["keep"], row["relation"], row["to"]) for row in rows}
  assert {("plain.png", "yes", "", ""), ("part.png", "", "crop", "plain")} <= told
  pairs = client.get("/api/groups/export", params={"format": "pairs"}).text
  assert sorted(pairs.split()) == ["part.png", "plain.png"]
  assert client.get("/api/groups/export", params={"format": "json"}).json()["groups"]


def test_groups_of_one_kind_are_asked_for(client):
  def found(kind):
    asked = {"kind": kind}
    assert wait_for(lambda: client.get("/api/groups", params=asked).status_code == 200)
    table = client.get("/api/groups/export", params={**asked, "format": "csv"}).text
    return client.get("/api/groups", params=asked).json()["total"], len(table.splitlines()) - 1

  assert found("crops") == (1, 2)
  assert found("insets") == (0, 0)
  assert client.get("/api/groups", params={"kind": "others"}).status_code == 422
  described = client.get("/openapi.json").json()["components"]["schemas"]
  assert {"is_inset", "is_within"} <= described["RelationAnswer"]["properties"].keys()
