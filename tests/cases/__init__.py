"""One test per case of docs/cases.md that no other test shows, named by its claim, on the whole path."""
