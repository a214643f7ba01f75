"""Load on a server, and what comes of it: the layer behind ``modelpack bench``.

    URL, SOURCE ──opening──► Place ──aim──► requests ─┐
                                       Load ──────────┴─► session.measure
        ┌──────────────────────────────────────────────────────┘
        ▼
    generator, shards      one process, or several
      └ loops, lanes       open and closed loop, over connections (``wire``), on time (``alarm``)
          └ slices         what each second saw, with its histograms
        ▼
    result ──┬─ report     words for people
             ├─ advice     one line, from these figures and the server's own (``scrape``)
             ├─ compare    is a difference more than chance?  ``turns`` measures A B A B
             ├─ goals      for continuous integration
             └─ presets    the suites, each one table

It knows a server only by what it says over HTTP: this layer never imports ``modelpack.server``.
"""
