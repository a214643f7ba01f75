"""Deploys bundles to Heroku; the targets are found by their entry points."""
