import csv
import io
import json

import numpy as np
import pytest
from PIL import Image

from l2g_jax.retriever.matched import Match
from l2g_jax.web import searching
from tests.web.conftest import NAMES, png, texture


def search(client, **asked):
  answer = client.get("/api/search", params=asked)
  assert answer.status_code == 200, answer.text
  return answer.json()


@pytest.mark.fast
def test_status_tells_what_can_be_searched(client):
  status = client.get("/api/status").json()
  assert (status["state"], status["message"], status["num_images"]) == ("ready", "", 13)
  assert (status["num_found"], status["num_expected"]) == (14, 13)
  assert status["num_left_out"] == 3
  assert status["generation"] >= 1
  assert status["upload_bytes"] == 200_000


def test_images_are_paged_and_filtered_by_name(client, ids):
  page = client.get("/api/images", params={"offset": 2, "limit": 3}).json()
  assert (page["total"], page["num_unreadable"]) == (14, 1)
  assert [image["name"] for image in page["images"]] == list(ids)[2:5]
  found = client.get("/api/images", params={"text": "BELOW/"}).json()
  assert [image["name"] for image in found["images"]] == [f"below/{n}" for n in range(6, 10)]


def test_identifiers_stay_and_tell_nothing(client, ids):
  assert len(set(ids.values())) == 14
  assert all(len(key) == 16 and set(key) <= set("0123456789abcdef") for key in ids.values())


def test_a_part_is_found_with_its_place(client, ids):
  answer = search(client, picture=ids["part"], limit=3)
  assert [result["name"] for result in answer["results"][:2]] == ["part", "plain"]
  first, second = answer["results"][:2]
  assert first["copy"] == "the same file"
  expected = [
    [30 / 160, 20 / 120],
    [140 / 160, 20 / 120],
    [140 / 160, 100 / 120],
    [30 / 160, 5 / 6],
  ]
  np.testing.assert_allclose(second["region"], expected, atol=0.02)
  assert second["inliers"] >= 8
  assert second["ranks"]["chamfer"] == 2


def test_few_points_agree_by_chance_and_locate_nothing(client, ids):
  results = search(client, picture=ids["plain"])["results"]
  assert {result["region"] is None for result in results} == {True, False}
  for result in results:
    assert (result["region"] is None) == (result["inliers"] < 8)
    asked = {"picture": ids["plain"], "image": result["id"]}
    compared = client.get("/api/compare", params=asked).json()
    assert compared["inliers"] == result["inliers"]
    assert compared["region"] == result["region"]
    assert (compared["transform"] is None) == (result["region"] is None)


@pytest.mark.parametrize(("number", "is_located"), [(7, False), (8, True)])
def test_eight_points_that_agree_locate_a_part(number, is_located):
  square = np.array([[0.0, 0.0], [10.0, 0.0], [10.0, 5.0], [0.0, 5.0]])
  match = Match(np.ones((number, 4), np.float32), np.eye(3), square)
  overlap = searching._in_fractions(match, (20, 40), (10, 20))
  assert len(overlap.lines) == number
  assert (overlap.transform is not None) == (overlap.region is not None) == is_located


def test_a_box_is_a_part_of_the_picture_as_displayed(client, ids):
  box = f"{30 / 160},{20 / 120},{140 / 160},{100 / 120}"
  answer = search(client, picture=ids["plain"], box=box)
  regions = {result["name"]: result["region"] for result in answer["results"]}
  np.testing.assert_allclose(regions["part"], [[0, 0], [1, 0], [1, 1], [0, 1]], atol=0.03)
  # The same part, with the picture turned clockwise by a quarter.
  turned = f"{20 / 120},{30 / 160},{100 / 120},{140 / 160}"
  answer = search(client, picture=ids["plain"], box=turned, turn=90)
  regions = {result["name"]: result["region"] for result in answer["results"]}
  # Its left upper corner is the left lower one of the part.
  np.testing.assert_allclose(regions["part"], [[0, 1], [0, 0], [1, 0], [1, 1]], atol=0.05)


def test_a_mirrored_query_finds_what_it_mirrors(client, ids):
  pixels = np.ascontiguousarray(texture(3)[:, ::-1])
  sent = client.post("/api/uploads", content=png(pixels)).json()
  assert search(client, picture=sent["id"])["results"][0]["inliers"] < 8
  (first, *_) = search(client, picture=sent["id"], mirror=1)["results"]
  assert (first["id"], first["copy"]) == (ids['quote"s'], "the same pixels")


def test_pages_of_results_follow_one_another(client, ids):
  whole = search(client, picture=ids["plain"])
  pages = [search(client, picture=ids["plain"], offset=n, limit=5) for n in (0, 5, 10)]
  assert [result for page in pages for result in page["results"]] == whole["results"]
  assert (whole["total"], whole["num_images"], whole["num_expected"]) == (13, 13, 13)
  assert [result["rank"] for result in whole["results"]] == list(range(1, 14))
  assert ids["torn"] not in {result["id"] for result in whole["results"]}


def test_results_without_regions_are_the_same_and_not_matched(client, ids):
  plain = search(client, picture=ids["part"], regions=0, limit=2)["results"]
  matched = search(client, picture=ids["part"], limit=2)["results"]
  assert [(result["region"], result["inliers"]) for result in plain] == [(None, 0)] * 2
  assert [{**result, "region": None, "inliers": 0} for result in matched] == plain


def test_compare_maps_the_query_onto_the_image(client, ids):
  asked = {"picture": ids["part"], "image": ids["plain"]}
  answer = client.get("/api/compare", params=asked).json()
  lines = np.array(answer["lines"])
  assert len(lines) == min(answer["inliers"], 200)
  mapped = np.column_stack([lines[:, :2], np.ones(len(lines))]) @ np.array(answer["transform"]).T
  np.testing.assert_allclose(mapped[:, :2] / mapped[:, 2:], lines[:, 2:], atol=0.02)
  assert answer["query"] == {"width": 110, "height": 80}
  assert answer["image"] == {"width": 160, "height": 120}


def test_a_map_holds_the_query_and_the_best_results(client, ids):
  answer = client.get("/api/map", params={"picture": ids["part"], "limit": 5}).json()
  query, *points = answer["points"]
  assert (query["id"], query["rank"]) == (None, 0)
  assert [point["rank"] for point in points] == sorted(point["rank"] for point in points)
  assert len(points) <= 5
  assert {"part", "plain"} <= {point["name"] for point in points}
  assert all(-1 <= point[axis] <= 1 for point in answer["points"] for axis in "xy")


@pytest.mark.parametrize("box", ["1,2", "a,b,c,d", "0.5,0,0.5,1", "nan,0,1,1", "0.9,0,0.1,1"])
def test_no_box_is_refused(client, ids, box):
  answer = client.get("/api/search", params={"picture": ids["plain"], "box": box})
  assert answer.status_code == 400
  assert "box" in answer.json()["detail"]


@pytest.mark.parametrize("asked", [{"turn": 45}, {"offset": -1}, {"limit": 0}, {"mirror": "so"}])
def test_values_out_of_range_are_refused_in_a_sentence(client, ids, asked):
  answer = client.get("/api/search", params={"picture": ids["plain"], **asked})
  assert answer.status_code in (400, 422)
  assert next(iter(asked)) in answer.json()["detail"]


def test_files_left_out_have_reasons(client):
  files = client.get("/api/left_out").json()["files"]
  reasons = {file["name"]: file["reason"] for file in files}
  assert set(reasons) == {"blank.png", "notes.txt", "torn.png"}
  assert "no local features" in reasons["blank.png"]
  assert "truncated or damaged" in reasons["torn.png"]
  assert "/" not in reasons["torn.png"]


def test_names_are_text_whatever_they_hold(client):
  images = client.get("/api/images").json()["images"]
  names = {image["name"] for image in images}
  assert {*NAMES[:4], "two\\nlines", "b\\udcffyte"} <= names


def export(client, ids, form, **asked):
  asked = {"picture": ids["=1+2"], "format": form, **asked}
  answer = client.get("/api/export", params=asked)
  assert answer.status_code == 200, answer.text
  assert answer.headers["content-disposition"].startswith("attachment; filename=")
  return answer


def test_a_table_holds_no_formula(client, ids):
  rows = list(csv.DictReader(io.StringIO(export(client, ids, "csv").text)))
  assert len(rows) == 13
  assert rows[0]["name"] == "'=1+2"
  assert rows[0]["copy"] == "the same file"
  assert int(rows[0]["found"]) >= 8
  assert "" in {row["found"] for row in rows}
  assert all(row["name"][0] not in "=+-@" for row in rows)


def test_json_holds_what_the_search_says(client, ids):
  content = json.loads(export(client, ids, "json", limit=4).text)
  shown = search(client, picture=ids["=1+2"], limit=4)["results"]
  assert [result["id"] for result in content["results"]] == [result["id"] for result in shown]
  assert content["query"]["name"] == "=1+2"


def test_pairs_are_files_below_the_folder(client, ids):
  lines = export(client, ids, "pairs").text.splitlines()
  assert lines[0] == "=1+2.png =1+2.png"
  assert len(lines) == 13
  assert "=1+2.png two\\nlines.png" in lines


def test_a_page_in_one_file_shows_names_as_text(client, ids):
  page = export(client, ids, "html").text
  assert "<script" not in page
  assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
  assert page.count("data:image/jpeg;base64,") >= 14
  assert 'src="http' not in page


def test_a_sheet_is_a_picture(client, ids):
  sheet = Image.open(io.BytesIO(export(client, ids, "sheet", limit=3).content))
  assert sheet.format == "PNG"
