"""The archive: finished entries as compressed CloudEvents segments, and reads over archive and stream as one."""
