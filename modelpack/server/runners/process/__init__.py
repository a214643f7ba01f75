"""Runs the service's methods in processes of their own."""
