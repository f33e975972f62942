"""Types alone, for checkers: see micro.blocking. Written by scripts/blocking.py."""
