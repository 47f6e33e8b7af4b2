"""The reproduction of published numbers: literature, records of runs, rows with verdicts, the page."""
