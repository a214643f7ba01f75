"""Calls that are answered later: submit, come back, fetch the answer.

    POST /tasks/API ─► face ──submit──► store (SQLite, Redis) ◄──claim── engine of some process
                                          │   ▲                            │
    GET /tasks/ID ◄── face ◄──────────────┘   └──── finish ◄── running ◄───┘ the api's own queue
                                          └──notices──► webhooks ──► who wants to be told

``record``   what is kept of a task          ``store``     what a place for tasks can do
``engine``   claims, runs, keeps alive       ``running``   one task through the api's endpoint
``face``     the paths                       ``webhooks``  whom to tell, and how it is signed

What always holds: a task that was taken in (202) is kept before that is said; it may be begun more
than once, when a process is lost, but has exactly one result.
"""
