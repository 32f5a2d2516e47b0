import threading

import anyio

from l2g_jax.web.turns import Turns


def run(asked, *, cancelled=()):
  """Returns the order in which work is done that waits for one turn, as `(name, can_wait)`."""
  done = []

  async def main():
    turns, first, going = Turns(1), threading.Event(), anyio.Event()
    scopes = {name: anyio.CancelScope() for name, _ in asked}

    async def work(name, can_wait):
      with scopes[name]:
        await turns.run(lambda: done.append(name), can_wait=can_wait)

    async def begin():
      going.set()
      await turns.run(first.wait)

    async with anyio.create_task_group() as group:
      group.start_soon(begin)
      await going.wait()
      for name, can_wait in asked:
        group.start_soon(work, name, can_wait)
        await anyio.wait_all_tasks_blocked()
      for name in cancelled:
        scopes[name].cancel()
      await anyio.wait_all_tasks_blocked()
      first.set()
    # All turns were given back.
    assert await turns.run(lambda: "free") == "free"

  anyio.run(main)
  return done


def test_what_can_wait_goes_last_and_others_in_the_order_in_which_they_came():
  asked = [("regions 1", True), ("search 1", False), ("regions 2", True), ("search 2", False)]
  assert run(asked) == ["search 1", "search 2", "regions 1", "regions 2"]


def test_who_no_longer_waits_takes_no_turn():
  asked = [("search 1", False), ("search 2", False), ("regions", True)]
  assert run(asked, cancelled=["search 1"]) == ["search 2", "regions"]
