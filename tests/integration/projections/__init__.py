"""Claims about counters in a real Redis, under redelivery, crashes and lost groups."""
