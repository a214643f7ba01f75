"""The version of this modelpack, in one place."""

__version__ = "0.1.0"
