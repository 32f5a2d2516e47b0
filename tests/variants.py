"""Variants under which a public function of the device side is tested, with types for checkers.

chex curries its decorators and gives `self.variant` no type, so that checkers lose both.
"""

from typing import Any

import chex

jit_variants: Any = chex.variants(with_jit=True, without_jit=True)


class VariantTestCase(chex.TestCase):
  """A test case whose `self.variant` wraps a function as the test's variant asks for."""

  variant: Any
