"""Run the command by `python -m innkeeper`."""

from innkeeper.cli.main import main

main()
