"""``python -m lgs_cli``."""

from lgs_cli.cli import main

main()
