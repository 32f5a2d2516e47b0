import pytest

from l2g_jax.ranking.blocks import blocks


@pytest.mark.parametrize(("num_rows", "size"), [(0, 3), (1, 3), (3, 3), (7, 3), (9, 3), (5, 1)])
def test_blocks_have_one_size_and_hold_every_row_once(num_rows, size):
  parts = list(blocks(num_rows, size))
  assert [row for rows, _ in parts for row in rows.tolist()] == list(range(num_rows))
  assert {len(padded) for _, padded in parts} <= {min(size, num_rows)}
  assert all(padded[: len(rows)].tolist() == rows.tolist() for rows, padded in parts)
