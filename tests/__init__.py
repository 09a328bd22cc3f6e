"""Tests of leadstream: real servers, real sockets, no sleeps."""
