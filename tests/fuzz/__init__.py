"""Generated input against the whole API and the mail builder: short in the suite, long in `make fuzz`."""
