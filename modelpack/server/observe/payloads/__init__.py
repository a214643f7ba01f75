"""Payload logging: what goes in and out of the apis, as CloudEvents, to a collector or a file.

    call ──Exchange──► PayloadLog (bounded queue) ──► thread: Sender ──► Collector  http(s)
                              └──► dropped, counted                 └──► Journal    a file

Off by default; ``record`` is what a call leaves behind, ``events`` what that looks like as CloudEvents.
"""
