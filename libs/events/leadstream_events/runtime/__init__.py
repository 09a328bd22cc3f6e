"""The consumer runtime: one for every service. Start reading at `consumer.py`."""
