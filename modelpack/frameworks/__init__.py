"""Adapters that save and load models of one framework each.  Part of the runtime."""
