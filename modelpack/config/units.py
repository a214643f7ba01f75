"""Amounts of memory as people write them: ``512MB``, ``2GiB``, ``1.5Gi`` or a number of bytes.

MB is a million bytes and MiB is 1024 * 1024, as the standards say.  A bare ``M`` or ``m`` is refused:
it is a million bytes to one tool, 1024 * 1024 to the next, and a thousandth to a third.
"""

from __future__ import annotations

import re
from decimal import Decimal

SIZE_PATTERN = r"[0-9]+(\.[0-9]+)? ?(B|[kKMGT]B|[KMGT]iB?)"

_FACTORS = {
    "B": 1,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "TB": 1000**4,
    "KI": 1024,
    "MI": 1024**2,
    "GI": 1024**3,
    "TI": 1024**4,
}
_SIZE = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,6})?) ?([A-Za-z]*)", re.ASCII)


def parse_size(text: str) -> int:
    """Return the bytes that the text means; raises ValueError that says what to write."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"must be an amount such as 512MB or 2GiB, got '{text[:40]}'")
    number, unit = Decimal(match[1]), match[2].upper()
    if unit in ("K", "M", "G", "T"):
        raise ValueError(
            f"'{text[:40]}' can be read in two ways: write {match[1]}{unit}B (1000s) "
            f"or {match[1]}{unit}iB (1024s)"
        )
    factor = _FACTORS.get(unit.removesuffix("B") if unit.endswith("IB") else unit or "B")
    if factor is None:
        raise ValueError(f"must be in B, KB, MB, GB, KiB, MiB or GiB, got '{text[:40]}'")
    return int(number * factor)


def format_size(size_bytes: int) -> str:
    """Return the size for people: three digits or so, in units of 1000."""
    if size_bytes < 1000:
        return f"{size_bytes} B"
    size = float(size_bytes)
    for unit in ("kB", "MB", "GB", "TB"):
        size /= 1000
        if size < 999.5 or unit == "TB":
            break
    return f"{size:.1f} {unit}" if size < 99.95 else f"{size:.0f} {unit}"
