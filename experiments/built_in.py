"""The benchmark that runs where no data set is there."""

import mini
from l2g_jax.cli.evaluate import BuiltIn

MINI = BuiltIn(
  mini.NAME,
  mini.make_mini,
  "mini is the built-in synthetic benchmark: these are not figures of Revisited Oxford or Paris.",
  # With ALIKED the first run would take longer than a first look may.
  local="sift",
)
