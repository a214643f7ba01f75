"""The Starlette application: everything that the fast lane does not answer."""
