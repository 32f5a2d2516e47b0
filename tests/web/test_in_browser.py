"""The pages in Chromium over a folder of small pictures; skipped where there is no Chromium."""

import shutil

import numpy as np
import pytest

from tests.report import chromium
from tests.web import browser_samples as samples

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("selenium")
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.web import serving
from tests.web.browser_page import (
  BOX,
  Page,
  check_download,
  check_first,
  drag_finger,
  drag_mouse,
  overlap,
  points,
)

pytestmark = pytest.mark.skipif(
  chromium.BROWSER is None or chromium.DRIVER is None,
  reason="Chromium and its driver are not installed.",
)


@pytest.fixture(scope="module")
def driver():
  opened = chromium.open_chromium()
  opened.set_window_size(1280, 900)
  yield opened
  opened.quit()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  made = tmp_path_factory.mktemp("served") / "pictures"
  samples.write(made)
  (made / "torn.jpg").write_bytes((made / "crop.jpg").read_bytes()[:600])
  return made


@pytest.fixture(scope="module")
def address(folder):
  with serving.serve(folder, folder.parent / "work") as base:
    yield base


@pytest.fixture
def page(driver, address):
  size = {"width": 1280, "height": 900, "deviceScaleFactor": 1, "mobile": False}
  driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
  opened = Page(driver, address)
  opened.open("/")
  opened.wait(lambda: "14 photographs" in opened.text("#state-text"))
  yield opened
  # The policy of the page tells of what it refused, and scripts of their errors.
  log = [entry["message"] for entry in driver.get_log("browser")]
  assert [line for line in log if not any(word in line for word in opened.expected)] == []
  loaded = opened.run("return performance.getEntriesByType('resource').map(e => e.name)")
  assert all(name.startswith((address, "blob:")) for name in loaded)


def test_the_collection_is_shown_and_filtered(page):
  page.wait(lambda: len(page.all("#collection > li")) == 15)
  page.get("#text").send_keys("thing-2")
  page.wait(lambda: len(page.all("#collection > li")) == 3)
  assert page.text("#count") == "3 photographs with “thing-2” in the name"
  page.get("#collection a").click()
  assert page.results()[0] == "thing-2-0"
  assert page.text("#query-name") == "thing-2-0"


def test_a_chosen_picture_is_searched(page, tmp_path):
  path = tmp_path / "asked.jpg"
  samples.save(path, samples.draw(3, 1, ground=900))
  page.run("return document.getElementById('file')").send_keys(str(path))
  check_first(page.results(), 3)
  assert page.given()["picture"].startswith("u-")


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_a_dropped_or_pasted_picture_is_searched(page, event):
  hand_in = """
    const done = arguments[2];
    fetch(`/api/pictures/${arguments[0]}?side=1024`).then(a => a.blob()).then((blob) => {
      const data = new DataTransfer();
      data.items.add(new File([blob], "given.jpg", { type: "image/jpeg" }));
      const options = { bubbles: true, cancelable: true, dataTransfer: data, clipboardData: data };
      document.body.dispatchEvent(new DragEvent("dragover", options));
      done(document.body.classList.contains("over"));
      const kind = arguments[1] === "drop" ? DragEvent : ClipboardEvent;
      document.body.dispatchEvent(new kind(arguments[1], options));
    })"""
  assert page.driver.execute_async_script(hand_in, page.id("thing-1-2"), event)
  page.wait(lambda: "picture=u-" in page.driver.current_url)
  check_first(page.results(), 1)


def test_what_is_no_picture_is_refused_in_a_sentence(page, tmp_path):
  page.expected += ("/api/uploads",)
  for name, content in (("words.jpg", b"no picture at all"), ("empty.jpg", b"")):
    (tmp_path / name).write_bytes(content)
    page.run("return document.getElementById('file')").send_keys(str(tmp_path / name))
    error = page.get("#error")
    assert error.get_attribute("role") == "alert"
    assert page.text("#error-text").endswith(".")
    page.get("#error-close").click()
    assert not error.is_displayed()
  assert page.driver.current_url.endswith("/")


@pytest.mark.parametrize("drag", [drag_mouse, drag_finger])
def test_a_box_is_dragged_with_mouse_or_finger(page, drag):
  page.search(more="")
  frame = page.get("#picture").rect
  x1, y1, x2, y2 = (float(value) for value in BOX.split(","))
  place = lambda x, y: (
    round(frame["x"] + x * frame["width"]),
    round(frame["y"] + y * frame["height"]),
  )
  drag(page, place(x1, y1), place(x2, y2))
  np.testing.assert_allclose(page.box(), [x1, y1, x2, y2], atol=0.01)
  check_first(page.results(), 0)
  # Its other views have the thing framed where it lies.
  tile = next(one for one in page.all("#results .tile") if "thing-0-1" in one.text)
  framed = points(tile.find_element(By.CSS_SELECTOR, "polygon.over"))
  assert overlap(framed, samples.place(1)) > 0.7
  page.get("#clear").click()
  page.wait(lambda: "box" not in page.given())
  page.driver.back()
  np.testing.assert_allclose(page.box(), [x1, y1, x2, y2], atol=0.01)
  assert page.results()[0] in ("thing-0-0", "crop")


def test_the_box_stays_on_its_thing_when_the_picture_is_turned(page):
  page.search()
  page.get("#right").click()
  page.wait(lambda: page.given().get("turn") == "90")
  x1, y1, x2, y2 = (float(value) for value in BOX.split(","))
  np.testing.assert_allclose(page.box(), [1 - y2, x1, 1 - y1, x2], atol=1e-3)
  check_first(page.results(), 0)
  view = [float(value) for value in page.get("#picture").get_dom_attribute("viewBox").split()]
  assert view[2:] == [270, 360]
  page.get("#mirror").click()
  assert page.given()["mirror"] == "1"
  # To the right on the mirrored picture is to the left on its file.
  page.get("#right").click()
  assert "turn" not in page.given()
  assert page.get("#mirror").get_attribute("aria-pressed") == "true"
  np.testing.assert_allclose(page.box(), [1 - x2, y1, 1 - x1, y2], atol=1e-3)
  page.results()


def test_everything_goes_by_keyboard(page):
  page.open("/")
  page.get("#collection a")
  active = lambda: page.driver.switch_to.active_element
  for _ in range(20):
    page.press(Keys.TAB)
    if active().get_attribute("href") and "/search" in active().get_attribute("href"):
      break
  page.press(Keys.ENTER)
  page.results()
  for _ in range(20):
    page.press(Keys.TAB)
    if active().get_attribute("id") == "picture":
      break
  ring = "return getComputedStyle(document.activeElement).outlineStyle"
  assert page.run(ring) == "solid"
  page.press(Keys.ARROW_LEFT, Keys.ARROW_LEFT, Keys.ARROW_DOWN)
  ActionChains(page.driver).key_down(Keys.SHIFT).send_keys(Keys.ARROW_RIGHT).key_up(
    Keys.SHIFT
  ).perform()
  page.press(Keys.ENTER)
  np.testing.assert_allclose(page.box(), [0.28, 0.32, 0.70, 0.72], atol=1e-3)
  page.results()
  page.press(Keys.ESCAPE)
  page.wait(lambda: "box" not in page.given())
  page.results()
  page.run("document.querySelector('#results a').focus()")
  page.press(Keys.ENTER)
  page.wait(lambda: "/compare" in page.driver.current_url)
  page.get(".match")
  page.get(".pair").send_keys(Keys.ARROW_RIGHT)
  assert len(page.all(".match.chosen")) == 1


def test_two_pictures_are_compared(page):
  page.search()
  rank = next(
    position
    for position, tile in enumerate(page.all("#results .tile"), 1)
    if "thing-0-1" in tile.text
  )
  page.all("#results .tile")[rank - 1].click()
  page.wait(lambda: page.all(".match"))
  assert page.text("#pair") == "thing-0-0 and thing-0-1"
  assert page.all(".lines")[0].is_displayed()
  page.get("#lines").click()
  assert not page.all(".lines")[0].is_displayed()
  page.get("#over").click()
  warped = page.get("#warped")
  # What is laid over the result is the box, and it lies on the thing.
  fractions = page.run(
    """const [inner, outer] = ["#warped polygon.over", "#stage"].map(
      (selector) => document.querySelector(selector).getBoundingClientRect());
    return [[inner.left, inner.top], [inner.right, inner.bottom]].map(([x, y]) =>
      [(x - outer.left) / outer.width, (y - outer.top) / outer.height])"""
  )
  assert overlap(fractions, samples.place(1)) > 0.7
  assert warped.value_of_css_property("opacity") == "0.6"
  page.get("#opacity").send_keys(Keys.HOME)
  assert warped.value_of_css_property("opacity") == "0"
  page.get("#opacity").send_keys(Keys.END)
  page.get("#blink").click()
  assert warped.value_of_css_property("opacity") == "0"
  page.get("#blink").click()
  assert warped.value_of_css_property("opacity") == "1"
  page.get("#next").click()
  page.wait(lambda: page.given()["rank"] == str(rank + 1))
  page.get("#back").click()
  assert page.given()["box"] == BOX


def test_the_map_is_moved_and_opens_pictures(page):
  page.search()
  page.get("#to-map").click()
  page.wait(lambda: page.all("a.node"))
  assert len(page.all(".node.query")) == 1
  nodes = page.all("a.node")
  where = lambda: [node.get_dom_attribute("transform") for node in nodes]
  before = where()
  page.get("#map").send_keys(Keys.ARROW_LEFT)
  moved = where()
  assert all(one != other for one, other in zip(before, moved, strict=True))
  page.get("#all").click()
  assert where() == before
  page.get("#map").send_keys("+")
  assert where() != before
  page.get("#all").click()
  drag = ActionChains(page.driver, duration=50).move_to_element_with_offset(
    page.get("#map"), 500, 200
  )
  drag.click_and_hold().move_by_offset(-40, 30).release().perform()
  assert where() != before
  page.run("arguments[0].focus()", nodes[-1])
  page.press(Keys.ENTER)
  page.wait(lambda: "/compare" in page.driver.current_url)
  assert page.given()["rank"] == "1"


def test_groups_are_found_and_nothing_is_touched(page, folder):
  before = {path.name: path.read_bytes() for path in folder.iterdir()}
  page.open("/groups")
  groups = page.wait(lambda: page.all(".group"))
  assert "Nothing is ever deleted" in page.text("#main")
  crop = next(group for group in groups if "crop" in group.text)
  assert "thing-0-0" in crop.text
  assert "a crop of thing-0-0" in crop.text
  best = [tile.text for tile in crop.find_elements(By.CSS_SELECTOR, ".best")]
  assert len(best) == 1
  assert "Suggested to keep" in best[0]
  assert crop.find_elements(By.CSS_SELECTOR, "polygon.over")
  copy = next(group for group in groups if "copy" in group.text)
  assert "thing-1-1" in copy.text
  for form in ("csv", "json", "pairs"):
    check_download(page, f"#export a[href*='format={form}']")
  page.get("[name=kind][value=copies]").click()
  page.wait(lambda: page.all(".group") and "crop" not in page.text("#groups"))
  assert "copy" in page.text("#groups")
  assert page.given()["kind"] == "copies"
  page.get("[name=kind][value=insets]").click()
  page.wait(lambda: "belong together in this way" in page.text("#summary"))
  assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_results_are_exported(page):
  page.search()
  page.get(".menu summary").click()
  limit = page.get("#export-limit")
  limit.clear()
  limit.send_keys("5")
  kinds = {"csv": "text/csv", "json": "json", "sheet": "image/", "html": "html", "pairs": "text"}
  links = page.all("#export a")
  assert len(links) == len(kinds)
  assert all("limit=5" in link.get_attribute("href") for link in links)
  for form, kind in kinds.items():
    check_download(page, f"#export a[href*='format={form}']", kind)
  page.press(Keys.ESCAPE)
  assert not limit.is_displayed()


def test_left_out_files_are_listed_with_reasons(page):
  assert page.get("#left-out").text == "(1)"
  page.open("/left-out")
  rows = page.wait(lambda: page.all("#files tbody tr"))
  assert len(rows) == 1
  assert "torn.jpg" in rows[0].text
  assert rows[0].text.endswith(".")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_is_wider_than_the_window(page, width, scheme):
  size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
  query = f"picture={page.id('thing-0-0')}&box={BOX}"
  paths = {
    "/": "#collection > li",
    f"/search?{query}": "#results > li",
    f"/compare?{query}&image={page.id('thing-0-1')}&rank=2": ".pair",
    f"/map?{query}": "a.node",
    "/groups": ".group",
    "/left-out": "#files tr",
  }
  page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
  feature = {"name": "prefers-color-scheme", "value": scheme}
  page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
  for path, shown in paths.items():
    page.open(path)
    page.get(shown)
    assert page.run("return document.documentElement.scrollWidth <= innerWidth"), path
    wide = """return [...document.querySelectorAll('body *')].filter(
      e => !e.closest('#stage, #map, .unseen')
        && e.getBoundingClientRect().right > document.documentElement.clientWidth + 1).length"""
    assert page.run(wide) == 0, path
    colours = page.run(
      "const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]"
    )
    ink, ground = (sum(map(int, colour[4:-1].split(","))) for colour in colours)
    assert (ink < ground) == (scheme == "light")


def test_a_new_picture_is_found_while_the_page_is_open(page, folder):
  page.search("thing-2-0", more="")
  shutil.copy(folder / "thing-2-1.jpg", folder / "later.jpg")
  try:
    page.wait(lambda: page.all("#changed:not([hidden])"))
    page.get("#again").click()
    page.wait(lambda: "later" in page.results())
  finally:
    (folder / "later.jpg").unlink()
  page.open("/")
  page.wait(lambda: "14 photographs" in page.text("#state-text"))
