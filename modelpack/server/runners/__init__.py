"""Calls the service's methods in the place that suits them."""
