"""Loads at once what is loaded when a service starts: for a parent that forks it."""

from leadstream_mail.templates import packaged

packaged()
