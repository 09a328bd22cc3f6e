"""What the API does while Redis is away: spool leads, send their mails, merge both when Redis is back.

Start reading at `worker.py`; the rules are docs/decisions/0007-fallback.md.
"""
