"""A way to make HTTP requests that sends each of them once.

    http(timeout_s) ──► httplib2.Http whose connections send no request a second time

httplib2 sends a request again when a connection ends before its answer, also one that changes something:
a change that was made would be refused as somebody else's.  Who asks here decides what is tried again.
"""

from __future__ import annotations

from typing import Any


def http(timeout_s: float, **options: Any) -> Any:
    """Return a ``httplib2.Http``; a request whose answer is lost raises ConnectionError."""
    import httplib2

    class Once:
        """A connection that waits for the answer of what it has sent, and sends nothing before it."""

        is_waiting = False

        def request(self, *arguments: Any, **more: Any) -> None:
            if self.is_waiting:
                self.close()  # type: ignore[attr-defined]
                raise ConnectionAbortedError("the connection ended before the answer")
            self.is_waiting = True
            super().request(*arguments, **more)  # type: ignore[misc]

        def getresponse(self) -> Any:
            found = super().getresponse()  # type: ignore[misc]
            self.is_waiting = False
            return found

    class Plain(Once, httplib2.HTTPConnectionWithTimeout):  # type: ignore[misc]
        """Without TLS."""

    class Protected(Once, httplib2.HTTPSConnectionWithTimeout):  # type: ignore[misc]
        """Over TLS."""

    class Http(httplib2.Http):  # type: ignore[misc]
        """Makes its connections of these."""

        def request(self, uri: str, *arguments: Any, **more: Any) -> Any:
            kind = Protected if uri.startswith("https:") else Plain
            return super().request(uri, *arguments, **{**more, "connection_type": kind})

    found = Http(timeout=timeout_s, **options)
    found.follow_redirects = False
    return found
