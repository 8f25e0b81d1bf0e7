"""The report of an evaluation: content, chart, page."""
