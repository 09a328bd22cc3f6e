"""Imports at once what Faust imports only when an app is made: for a parent that forks the service."""

from leadstream_projections.app import ProjectionApp
from leadstream_projections.counters import PROJECTIONS

ProjectionApp(PROJECTIONS)
