"""Takes the pictures of the pages that the documentation shows, over renderings of `mini`.

python -m tests.web.screenshots data/mini WORK docs/images
"""

import io
import pathlib
import shutil
import sys
import time

from PIL import Image

from l2g_jax.data.ground_truth import load_ground_truth
from l2g_jax.runtime import files
from tests.report.chromium import open_chromium
from tests.web import serving

_NUM_QUERIES = 16
_NUM_IMAGES = 290
_SIZE = (1200, 800)
_SHOWN = (900, 600)
_QUERY = 2
_WAIT_SECONDS = 600.0


def main(root: str, work: str, output: str) -> None:
  """Writes `serve-search.jpg`, `serve-compare.jpg` and `serve-groups.jpg`.

  Args:
    root: the folder of `mini`, with `jpg` and `gnd_mini.json`.
    work: a folder for the pictures that are served and what is made of them; it may be used again.
    output: the folder of the pictures that are taken.
  """
  truth = load_ground_truth(pathlib.Path(root, "gnd_mini.json"))
  images = pathlib.Path(work, "pictures")
  if not images.exists():
    _write(images, pathlib.Path(root, "jpg"), truth)
  driver = open_chromium()
  metrics = {"width": _SIZE[0], "height": _SIZE[1], "deviceScaleFactor": 1, "mobile": False}
  driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
  try:
    with serving.serve(images, pathlib.Path(work, "work")) as address:
      _wait(driver, address, "#state-text", f"{len(list(images.iterdir()))} photographs can be")
      name = truth.qimlist[_QUERY]
      picture = _id(driver, name)
      with Image.open(images / f"{name}.jpg") as opened:
        width, height = opened.size
      box = truth.queries[_QUERY].bbx
      fractions = (box[0] / width, box[1] / height, box[2] / width, box[3] / height)
      query = f"picture={picture}&box={','.join(f'{value:.4f}' for value in fractions)}"
      _wait(driver, f"{address}/search?{query}", "#summary", "it is framed")
      _take(driver, pathlib.Path(output, "serve-search.jpg"))
      links = driver.execute_script(
        "return [...document.querySelectorAll('#results a.matched')].map(a => a.href)"
      )
      _wait(driver, links[1], "#count", "matching points")
      _take(driver, pathlib.Path(output, "serve-compare.jpg"))
      _wait(driver, f"{address}/groups", "#summary", "the largest first")
      _take(driver, pathlib.Path(output, "serve-groups.jpg"))
  finally:
    driver.quit()


def _write(folder: pathlib.Path, source: pathlib.Path, truth) -> None:
  """Copies queries and images of some landmarks, and saves copies and crops of a few."""
  folder.mkdir(parents=True)
  numbers = {}
  for query in truth.queries[:_NUM_QUERIES]:
    numbers.update(dict.fromkeys([*query.easy, *query.hard]))
  numbers.update(dict.fromkeys(range(len(truth.imlist))))
  names = [*truth.qimlist[:_NUM_QUERIES], *(truth.imlist[n] for n in list(numbers)[:_NUM_IMAGES])]
  for name in names:
    shutil.copyfile(source / f"{name}.jpg", folder / f"{name}.jpg")
  for number, name in enumerate(truth.imlist[n] for n in list(numbers)[: 5 * 40 : 40]):
    with Image.open(source / f"{name}.jpg") as picture:
      width, height = picture.size
      left, top = width * (number + 1) // 12, height * (number + 1) // 14
      part = picture.crop((left, top, left + width // 2, top + height // 2))
      part.save(folder / f"{name}-part.jpg", quality=90)
      if number % 2:
        picture.resize((width * 2 // 3, height * 2 // 3)).save(folder / f"{name}-small.jpg")
      else:
        picture.transpose(Image.Transpose.ROTATE_90).save(folder / f"{name}-turned.jpg", quality=60)


def _wait(driver, address: str, selector: str, words: str) -> None:
  """Opens a page and waits until a part of it says something."""
  driver.get(address)
  end = time.monotonic() + _WAIT_SECONDS
  script = "return document.querySelector(arguments[0])?.textContent ?? ''"
  while words not in driver.execute_script(script, selector):
    assert time.monotonic() < end, f"{address} does not say {words!r}."
    time.sleep(0.2)


def _id(driver, name: str) -> str:
  script = """const done = arguments[1];
    fetch(`/api/images?limit=1000&text=${arguments[0]}`).then(a => a.json()).then(done)"""
  images = driver.execute_async_script(script, name)["images"]
  return next(image["id"] for image in images if image["name"] == name)


def _take(driver, path: pathlib.Path) -> None:
  """Saves what the window shows, once all pictures in it are loaded and no work goes on."""
  while not driver.execute_script("return document.getElementById('state-progress').hidden"):
    time.sleep(0.2)
  driver.execute_script("document.activeElement.blur(); window.scrollTo(0, 0)")
  driver.execute_async_script("requestAnimationFrame(() => setTimeout(arguments[0], 1500))")
  picture = Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB")
  with files.atomic_path(path) as temporary:
    picture.resize(_SHOWN, Image.Resampling.LANCZOS).save(temporary, format="JPEG", quality=75)


if __name__ == "__main__":
  main(*sys.argv[1:])
