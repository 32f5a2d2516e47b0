"""A page in Chromium, and what the tests of the pages do with it and find on it."""

import urllib.parse

import numpy as np
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from l2g_jax.web.found import image_id
from tests.web import browser_samples as samples

# The box around the thing in its first view.
BOX = "0.06,0.12,0.46,0.54"
_PATIENCE = 30


class Page:
  """A page in the browser."""

  def __init__(self, driver, address):
    self.driver = driver
    self.address = address
    # Lines of the console that the test expects: a browser reports every refused request there.
    self.expected = (image_id("torn"),)

  def open(self, path):
    self.driver.get(self.address + path)

  def get(self, selector):
    """Waits for an element that is shown."""
    return self.wait(lambda: next((one for one in self.all(selector) if one.is_displayed()), None))

  def all(self, selector):
    return self.driver.find_elements(By.CSS_SELECTOR, selector)

  def text(self, selector):
    return self.driver.find_element(By.CSS_SELECTOR, selector).text

  def run(self, script, *values):
    return self.driver.execute_script(script, *values)

  def ask(self, path):
    """Asks the interface from the page; returns what it answers as JSON."""
    script = "const done = arguments[1]; fetch(arguments[0]).then(a => a.json()).then(done)"
    return self.driver.execute_async_script(script, path)

  def wait(self, condition):
    return WebDriverWait(self.driver, _PATIENCE, poll_frequency=0.05).until(lambda _: condition())

  def id(self, name):
    """Returns the identifier of a picture of the collection."""
    images = self.ask(f"/api/images?text={name}")["images"]
    return next(image["id"] for image in images if image["name"] == name)

  def given(self):
    """Returns what the address of the page holds."""
    return dict(urllib.parse.parse_qsl(urllib.parse.urlparse(self.driver.current_url).query))

  def box(self):
    return np.array([float(value) for value in self.given()["box"].split(",")])

  def search(self, name="thing-0-0", more=f"&box={BOX}"):
    """Opens the search for a part of a picture and waits for its results."""
    self.open(f"/search?picture={self.id(name)}{more}")
    return self.results()

  def results(self):
    """Waits for results; returns their names, best first."""
    self.wait(lambda: self.all("#results:not([aria-busy]) > li"))
    return [element.text for element in self.all("#results .name")]

  def press(self, *keys):
    ActionChains(self.driver, duration=0).send_keys(*keys).perform()


def check_first(names, thing):
  """Checks that the three pictures of a thing come first."""
  same = {samples.name(thing, view) for view in range(3)}
  assert same - {"thing-1-1"} <= set(names[:5])


def overlap(polygon, box):
  """Returns intersection over union of two boxes; that of the polygon is around its corners."""
  corners = np.array(polygon)
  one = np.concatenate([corners.min(0), corners.max(0)])
  low, high = np.maximum(one[:2], box[:2]), np.minimum(one[2:], box[2:])
  area = lambda first, second: float(np.prod(np.maximum(np.subtract(second, first), 0)))
  both = area(low, high)
  return both / (area(one[:2], one[2:]) + area(box[:2], box[2:]) - both)


def points(element):
  return [
    [float(v) for v in pair.split(",")] for pair in element.get_dom_attribute("points").split()
  ]


def drag_mouse(page, start, end):
  drag = ActionChains(page.driver, duration=50)
  drag.w3c_actions.pointer_action.move_to_location(*start).pointer_down()
  drag.w3c_actions.pointer_action.move_to_location(*end).pointer_up()
  drag.perform()


def drag_finger(page, start, end):
  between = [(first + second) // 2 for first, second in zip(start, end, strict=True)]
  for kind, places in (
    ("touchStart", [start]),
    ("touchMove", [between]),
    ("touchMove", [end]),
    ("touchEnd", []),
  ):
    touches = {"type": kind, "touchPoints": [{"x": x, "y": y} for x, y in places]}
    page.driver.execute_cdp_cmd("Input.dispatchTouchEvent", touches)


def check_download(page, selector, kind=""):
  """Checks that a link gives a file of a kind."""
  link = page.run("return document.querySelector(arguments[0]).href", selector)
  fetched = page.driver.execute_async_script(
    """const done = arguments[1];
    fetch(arguments[0]).then(async (a) => done([
      a.status, a.headers.get("content-type"), a.headers.get("content-disposition"),
      (await a.blob()).size]))""",
    link,
  )
  assert fetched[0] == 200
  assert kind in fetched[1]
  assert fetched[2].startswith("attachment")
  assert fetched[3] > 20
