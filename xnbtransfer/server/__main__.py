"""``python -m xnbtransfer.server``: the embedded server from a shell."""

from .main import main

main()
