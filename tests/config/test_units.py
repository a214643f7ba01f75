"""Sizes as people write and read them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpack.config.units import SIZE_PATTERN, format_size, parse_size


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("512MB", 512_000_000),
        ("512mb", 512_000_000),
        ("512MiB", 512 * 1024**2),
        ("512Mi", 512 * 1024**2),
        ("1.5 GiB", 3 * 1024**3 // 2),
        ("2TB", 2 * 10**12),
        ("8kB", 8000),
        ("17", 17),
        ("17B", 17),
    ],
)
def test_size_has_one_meaning(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["512M", "512m", "2G", "1k"])
def test_unit_that_tools_read_differently_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="two ways"):
        parse_size(text)


@pytest.mark.parametrize("text", ["", "MB", "-1MB", "1 2MB", "1e3", "five", "9" * 40, "1XB", "1BB"])
def test_text_that_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        parse_size(text)


@given(st.integers(0, 10**6), st.sampled_from(["B", "kB", "MB", "GB", "TB", "Ki", "MiB", "Gi"]))
def test_what_the_schema_accepts_is_read(number: int, unit: str) -> None:
    text = f"{number}{unit}"
    assert re.fullmatch(SIZE_PATTERN, text)
    assert parse_size(text) >= number


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (99_949, "99.9 kB"),
        (99_950, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (64_145_043, "64.1 MB"),
        (5 * 10**15, "5000 TB"),
    ],
)
def test_shown_size_has_three_digits(size_bytes: int, text: str) -> None:
    assert format_size(size_bytes) == text
