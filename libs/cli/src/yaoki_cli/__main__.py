"""`python -m yaoki_cli`."""

from yaoki_cli.app import main

main()
