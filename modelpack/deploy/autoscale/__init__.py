"""How many replicas a deployment should have, and what a policy would have done to a day's load.

policy    the formula and its settings
trace     requests as they came, from a file
replay    trace + policy ──► replicas over time, waiting, refusals
picture   that as text for a terminal, or as SVG for a page
"""
