"""Turns the bytes of requests into arguments, and answers into bytes."""
