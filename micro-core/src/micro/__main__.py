"""`python -m micro`: the command line, where its launcher is not at hand."""

import sys

from micro.cli.launch import main

sys.exit(main(sys.argv[1:]))
