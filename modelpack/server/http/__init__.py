"""Speaks HTTP/1.1: connections, heads, limits, the fast lane."""
