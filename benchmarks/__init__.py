"""Measurements: `make bench`. Every figure is CPU time or a ratio to something run in the same minute."""
