"""What workers do in tests."""

import os
import time

from l2g_jax.web.failures import Refusal


def add(first, second):
  return first + second


def divide(first, second):
  return first / second


def refuse(status, sentence):
  raise Refusal(status, sentence)


def sleep_then_write(seconds, path):
  time.sleep(seconds)
  path.write_text("late")


def die():
  os._exit(1)
