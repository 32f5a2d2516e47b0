"""Reports to look at: a folder with a page, its pictures, and all figures as data."""

from l2g_jax.report.blocks import Cell, Column, Plot, Section, Table, Text
from l2g_jax.report.folder import write_report

__all__ = ["Cell", "Column", "Plot", "Section", "Table", "Text", "write_report"]
