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
  assert {relation["first"], relation["second"]} == {ids["plain"], ids["part"]}
  table = client.get("/api/groups/export", params={"format": "csv"}).text
  rows = list(csv.DictReader(io.StringIO(table)))
  assert {("plain.png", "yes"), ("part.png", "")} <= {(row["file"], row["keep"]) for row in rows}
  pairs = client.get("/api/groups/export", params={"format": "pairs"}).text
  assert sorted(pairs.split()) == ["part.png", "plain.png"]
  assert client.get("/api/groups/export", params={"format": "json"}).json()["groups"]
