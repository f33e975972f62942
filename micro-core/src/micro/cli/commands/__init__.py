"""The built-in commands, one module for each group; each has `COMMANDS`, from word to command."""
