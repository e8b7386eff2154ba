"""The commands that a person runs, one module each."""
