"""Gathers single requests into batches, and takes the answers apart again."""
