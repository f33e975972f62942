"""The command line: a launcher that starts nothing it does not need, built-in commands, and every running service."""
