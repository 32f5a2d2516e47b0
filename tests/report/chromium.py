"""Chromium without a window, by Selenium; Debian has it as chromium and chromium-driver."""

import shutil
from typing import Any

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")


def open_chromium() -> Any:
  """Returns a driver, which keeps what pages write to their console."""
  from selenium import webdriver

  options = webdriver.ChromeOptions()
  options.binary_location = BROWSER or ""
  for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage"):
    options.add_argument(f"--{argument}")
  options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
  return webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
