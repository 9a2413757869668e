"""``python -m studiolo``."""

from .cli.main import main

main()
