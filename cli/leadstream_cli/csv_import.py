"""Subscribers from CSV: the reader is `leadstream_events.csv_subscribers`, which the dashboard uses too."""

from leadstream_events.csv_subscribers import BadLine, Line, Taken, parse_states, read_subscribers, store

__all__ = ["BadLine", "Line", "Taken", "parse_states", "read_subscribers", "store"]
