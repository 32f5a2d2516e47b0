"""The built-in benchmark: rendered landmarks in the revisited layout, made at the first use."""

from mini.make import NAME, make_mini
from mini.plan import MiniConfig, make_plan

__all__ = ["NAME", "MiniConfig", "make_mini", "make_plan"]
