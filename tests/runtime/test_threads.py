import os
import sys
import threading

import pytest

from l2g_jax.runtime.threads import give_way, in_threads


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no niceness of their own")
def test_a_thread_that_gives_way_takes_its_own_along_and_no_others():
  def niceness(_=None):
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

  before = niceness()
  found = []

  def work():
    give_way()
    found.extend([niceness(), *in_threads(niceness, [0, 1])])

  thread = threading.Thread(target=work)
  thread.start()
  thread.join()
  assert all(value > before or value == 19 for value in found)
  assert niceness() == before
