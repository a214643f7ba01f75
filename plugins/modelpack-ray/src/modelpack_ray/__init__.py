"""Deploys modelpack bundles to a Ray cluster."""
