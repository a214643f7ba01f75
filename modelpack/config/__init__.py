"""Settings: what people write (``load``, ``schema``) and the checked values made of it.

Only ``settings`` is part of the runtime; ``schema`` and ``load`` need pydantic and PyYAML and
are imported by name where they are used.
"""
