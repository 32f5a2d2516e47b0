"""Takes the picture of a report that the documentation shows, with Chromium and Selenium.

python -m tests.report.screenshot REPORT docs/images/report.jpg [query] [selector]
"""

import io
import pathlib
import sys

from PIL import Image

from l2g_jax.runtime import files
from tests.report.chromium import open_chromium

_SIZE = (1200, 860)
_SHOWN = (900, 645)


def main(report: str, output: str, query: str = "0", selector: str = ".browser") -> None:
  """Writes the picture of a query from an element on, such as [data-part=fell]."""
  driver = open_chromium()
  try:
    driver.set_window_size(*_SIZE)
    driver.get(f"{pathlib.Path(report, 'index.html').resolve().as_uri()}#query-{query}")
    metrics = {"width": _SIZE[0], "height": _SIZE[1], "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    driver.execute_script("document.activeElement.blur()")
    driver.execute_script("document.querySelector(arguments[0]).scrollIntoView()", selector)
    driver.execute_async_script("requestAnimationFrame(() => setTimeout(arguments[0], 1000))")
    picture = Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB")
  finally:
    driver.quit()
  with files.atomic_path(output) as temporary:
    picture.resize(_SHOWN, Image.Resampling.LANCZOS).save(temporary, format="JPEG", quality=68)


if __name__ == "__main__":
  main(*sys.argv[1:])
