"""What mail providers report over HTTP: one module per provider, one path to what is stored.

A provider's module is pure: it checks proofs and turns documented events into `Told`. `recording.py` finds our mail and
stores; `routes.py` answers 2xx only after that.
"""
