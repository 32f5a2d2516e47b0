"""The page in Chromium, of Debian's chromium and chromium-driver; skipped where there is none."""

import pytest

from tests.report import chromium, samples

pytest.importorskip("matplotlib")
pytest.importorskip("selenium")
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

pytestmark = pytest.mark.skipif(
  chromium.BROWSER is None or chromium.DRIVER is None,
  reason="Chromium and its driver are not installed.",
)


@pytest.fixture(scope="module")
def driver():
  opened = chromium.open_chromium()
  yield opened
  opened.quit()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
  folder = tmp_path_factory.mktemp("report")
  samples.write(folder)
  return (folder / "index.html").as_uri()


@pytest.fixture
def page(driver, address):
  driver.get("about:blank")
  driver.get(address)
  yield driver
  # The policy of the page tells of what it refused, and scripts of their errors.
  assert driver.get_log("browser") == []
  assert driver.title == samples.EVIL


def column(page, number):
  rows = page.find_elements(By.CSS_SELECTOR, "section table.sortable")[0]
  return [
    row.text for row in rows.find_elements(By.CSS_SELECTOR, f"tbody > tr > :nth-child({number})")
  ]


def part(page, name):
  return page.find_element(By.CSS_SELECTOR, f"[data-part={name}]")


def press(page, key):
  page.switch_to.active_element.send_keys(key)


def query(page):
  return part(page, "name").text.split()[1]


def test_words_are_words(page):
  assert page.find_element(By.TAG_NAME, "h1").text == samples.EVIL
  assert samples.EVIL in part(page, "name").text
  assert samples.EVIL in part(page, "lists").text
  assert samples.EVIL in part(page, "positives").text
  images = page.find_elements(By.TAG_NAME, "img")
  assert all("/pictures/" in image.get_attribute("src") for image in images)


def test_pictures_are_loaded_from_the_folder_alone(page):
  script = "return [...document.images].every(i => i.complete && i.naturalWidth > 0)"
  assert page.execute_script(script)
  loaded = page.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
  assert loaded == [] or all(name.startswith("file://") for name in loaded)


def test_a_table_is_sorted_by_click_and_key(page):
  heads = page.find_elements(By.CSS_SELECTOR, "section table.sortable thead button")[:3]
  heads[1].click()
  assert column(page, 2) == ["-1.25", "0.50", "2.00", "-"]
  heads[1].send_keys(Keys.ENTER)
  assert column(page, 2) == ["2.00", "0.50", "-1.25", "-"]
  heads[2].send_keys(Keys.SPACE)
  assert column(page, 3) == ["9", "10", "11", "-"]
  heads[0].click()
  assert column(page, 1) == [samples.EVIL, "a", "b", "c"]
  sorts = [head.find_element(By.XPATH, "..").get_attribute("aria-sort") for head in heads]
  assert sorts == ["ascending", None, None]


def test_queries_are_browsed_worst_first(page):
  assert query(page) == "2"
  assert part(page, "place").text == "1 of 3"
  part(page, "next").click()
  assert query(page) == "0"
  press(page, Keys.ARROW_RIGHT)
  assert query(page) == "1"
  assert not part(page, "next").is_enabled()
  press(page, Keys.ARROW_RIGHT)
  press(page, Keys.ARROW_LEFT)
  part(page, "previous").click()
  assert query(page) == "2"
  part(page, "order").send_keys("data")
  assert query(page) == "0"
  page.find_elements(By.CSS_SELECTOR, "tbody a")[0].click()
  assert query(page) == "1"


def test_lists_tell_label_score_and_change(page):
  tiles = part(page, "lists").find_elements(By.CSS_SELECTOR, "div:last-child > ol .tile")
  assert [tile.text.split("\n")[0] for tile in tiles] == ["1", "2", "3", "4"]
  assert "▲2 better" in tiles[0].text
  assert "▼1 worse" in tiles[1].text
  # A negative that rises is no gain.
  assert "▲3 worse" in tiles[3].text
  assert "L2G score 0.5000" in tiles[0].text
  assert "no score" in tiles[1].text
  styles = [tile.value_of_css_property("border-top-style") for tile in tiles]
  assert styles == ["solid", "double", "dotted", "dashed"]
  frame = part(page, "picture").find_element(By.TAG_NAME, "rect")
  assert [frame.get_attribute(key) for key in ("x", "y", "width", "height")] == [
    "5",
    "5",
    "30",
    "20",
  ]


def test_matches_are_drawn_on_demand(page):
  tiles = part(page, "lists").find_elements(By.CSS_SELECTOR, "div:last-child > ol .tile")
  assert [tile.tag_name for tile in tiles] == ["button", "button", "div", "div"]
  counts = ["5 matches", "0 matches, too few", "not matched", "not matched"]
  assert [tile.text.split("\n")[-1] for tile in tiles] == counts
  tiles[0].send_keys(Keys.ENTER)
  dialog = part(page, "dialog")
  assert dialog.is_displayed()
  assert "explains 5 matches; 2 of them are drawn" in dialog.text
  assert len(dialog.find_elements(By.TAG_NAME, "line")) == 2
  assert len(dialog.find_elements(By.TAG_NAME, "image")) == 2
  press(page, Keys.ARROW_RIGHT)
  press(page, Keys.ESCAPE)
  assert not dialog.is_displayed()
  assert query(page) == "2"
  tiles[1].click()
  assert "No transform explains enough matches." in dialog.text


def test_fallen_positives_stand_apart_with_reasons_and_matches(page):
  fell = part(page, "fell")
  (item,) = part(page, "fallen").find_elements(By.TAG_NAME, "li")
  tile = item.find_element(By.CSS_SELECTOR, "button.tile.easy")
  assert tile.text.split("\n")[:3] == ["40", "easy", "▲2 better"]
  reasons = [each.text for each in item.find_elements(By.TAG_NAME, "p")]
  assert reasons == [samples.EVIL, f"Fact {samples.EVIL}"]
  tile.click()
  assert "explains 5 matches" in part(page, "dialog").text
  press(page, Keys.ESCAPE)
  part(page, "next").click()
  assert query(page) == "0"
  assert not fell.is_displayed()


def test_the_best_of_a_column_is_bold_and_a_marked_row_is_not(page):
  table = page.find_elements(By.CSS_SELECTOR, "section table.sortable")[0]
  best = table.find_elements(By.CSS_SELECTOR, "td.best")
  assert [cell.text for cell in best] == ["2.00"]
  assert best[0].value_of_css_property("font-weight") == "700"
  marked = table.find_element(By.CSS_SELECTOR, "tr.marked td")
  assert marked.value_of_css_property("font-weight") == "400"


def test_a_long_table_says_that_it_goes_on_and_opens(page):
  frames = page.find_elements(By.CSS_SELECTOR, ".scroll")
  long = page.find_element(By.CSS_SELECTOR, "[aria-label=Long]")
  cut = "return arguments[0].scrollHeight > arguments[0].clientHeight"
  assert [page.execute_script(cut, frame) for frame in frames] == [
    frame == long for frame in frames
  ]
  bar = long.find_element(By.XPATH, "preceding-sibling::p[1]")
  assert "25 rows; scroll for the rest" in bar.text
  bar.find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
  assert not page.execute_script(cut, long)
  assert "Show fewer" in bar.text


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_is_wider_than_the_window(page, width, scheme):
  size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
  page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
  feature = {"name": "prefers-color-scheme", "value": scheme}
  page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
  assert page.execute_script("return document.documentElement.scrollWidth") <= width
  wide = """return [...document.querySelectorAll('body *')].filter(
    e => e.getBoundingClientRect().right > document.documentElement.clientWidth + 1).length"""
  assert page.execute_script(wide) == 0
  inner = "return [...document.querySelectorAll('.scroll')].map(e => e.scrollWidth - e.clientWidth)"
  assert page.execute_script(inner) == [0, 0, 0, 0]
  colours = page.execute_script(
    "const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]"
  )
  ink, ground = (sum(map(int, colour[4:-1].split(","))) for colour in colours)
  assert (ink < ground) == (scheme == "light")
