"""One module per family of commands; light to import, since `--help` imports them all."""
