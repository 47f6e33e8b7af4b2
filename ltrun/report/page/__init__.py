"""The page of a report: one self-contained HTML file with tables, figures and comparisons of rows. Needs no network."""

from ltrun.report.page.page import page

__all__ = ["page"]
