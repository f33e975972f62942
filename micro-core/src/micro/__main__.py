"""`python -m micro`: the command line, where its launcher is not at hand."""

from micro.cli.launch import command

command()
