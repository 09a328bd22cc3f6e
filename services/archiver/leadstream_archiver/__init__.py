"""The archiver service: writes what every group has finished to the archive, and then trims it."""
