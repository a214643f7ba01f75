"""The parts of the keeper of a port, standard library only.

members    servers that take connections, each by its line
parked     open connections and a queue that nobody takes at the moment
scaling    how many servers there should be: the formula, applied
sleepers   process 1 of containers, which start and stop servers when they are told to
keeper     what holds them together, and the lines
program    all of it as one text, for ``python -c``
"""
