"""A service that answers rows from a file: the part of ``modelpack batch`` that runs beside the model.

    modelpack batch ──socket──► python -m modelpack.server.offline ──► decode ─► batcher ─► runner
                    ◄─────────  answers, bad rows with their reasons

It is a process of its own because a bundle has an environment of its own, which knows nothing of the
toolchain.  Decoder, queue, costs, runners and counts are those of the server; only what stands
around them is another: no port, no head, no queue that is full.
"""
