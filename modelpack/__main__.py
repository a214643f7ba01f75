"""``python -m modelpack`` is the command ``modelpack``."""

from modelpack.cli.main import run

run()
