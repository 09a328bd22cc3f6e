"""Tests of the deciding code of the fallback."""
