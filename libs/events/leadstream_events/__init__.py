"""What every leadstream service shares: schemas, keys, the stream log and the consumer runtime."""

__version__ = "0.1.0"
