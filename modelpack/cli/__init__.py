"""The command line: it parses, calls one function of a lower layer, and prints.

    argv ──main──► command ──► lower layer ──► console: result on stdout, the rest on stderr
             └────────── error ──► failures: at most four lines, exit status

``main`` puts the commands together, ``grammar`` is how they are parsed and helped, ``console`` is
all output, ``failures`` turns errors into lines.  Every other module is one command, or a small
part of several: ``source`` says what an argument means, ``scaffold`` fills templates.

Importing any of them loads typer and nothing heavier: the rest is imported when a command runs.
"""
