"""Claims about formats that others rely on."""
