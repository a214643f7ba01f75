"""Deploys modelpack bundles to @{name}."""

from modelpack_@{module}.target import @{class}Target

__all__ = ["@{class}Target"]
