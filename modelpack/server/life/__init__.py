"""From start to a clean end of the serving process."""
