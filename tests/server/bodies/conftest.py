"""The kit of odd JSON (threat model S16): none of it is ever answered but with a 400.

odd_json      a test that takes it runs once for each body of the kit
odd_bodies    the whole kit, by name
"""

from __future__ import annotations

import pytest

ODD_JSON = {
    "empty": b"",
    "space": b" ",
    "cut short": b'{"x":[[1,2',
    "trailing comma": b'{"x":[1,],}',
    "two documents": b'{"x":1}{"x":1}',
    "trailing text": b'{"x":1} x',
    "single quotes": b"{'x':1}",
    "comment": b'{"x":1/*c*/}',
    "NaN": b'{"x":[[NaN,1,2]]}',
    "Infinity": b'{"x":[[Infinity,1,2]]}',
    "minus Infinity": b'{"x":[[-Infinity,1,2]]}',
    "too large a number": b'{"x":[[1e400,1,2]]}',
    "a million digits": b'{"x":[[' + b"1" * 1_000_000 + b",1,2]]}",
    "leading zero": b'{"x":[[01,1,2]]}',
    "plus": b'{"x":[[+1,1,2]]}',
    "hexadecimal": b'{"x":[[0x1,1,2]]}',
    "byte order mark": b'\xef\xbb\xbf{"x":[[1,2,3]]}',
    "UTF-16": '{"x":[[1,2,3]]}'.encode("utf-16"),
    "bad UTF-8": b'{"x":"\xff"}',
    "lone surrogate": b'{"x":"\\ud800"}',
    "control character": b'{"x":"a\nb"}',
    "NUL": b'{"x":[[1,2,3]]}\0',
    "key twice": b'{"x":[[1,2,3]],"x":[[1,2,3]]}',
    "key twice, inside": b'{"x":{"a":1,"a":2}}',
    "key twice, escaped": b'{"x":[[1,2,3]],"\\u0078":[[1,2,3]]}',
    "key twice in a list": b'[{"a":1,"a":2}]',
    "deep": b"[" * 100_000,
    "deep and closed": b'{"x":' + b"[" * 65 + b"]" * 65 + b"}",
    "deep objects": b'{"value":' + b'{"a":' * 70 + b"1" + b"}" * 71,
    "a float's name": b'{"x":[[1.,2,3]]}',
    "no digit before the point": b'{"x":[[.5,2,3]]}',
    "minus alone": b'{"x":[[-,2,3]]}',
    "exponent alone": b'{"x":[[1e,2,3]]}',
    "text behind a number": b'{"x":[[1a,2,3]]}',
    "form feed": b'{"x":\x0c[[1,2,3]]}',
    "no-break space": b'{"x":\xc2\xa0[[1,2,3]]}',
    "overlong UTF-8": b'{"x":"\xc0\x80"}',
    "half a surrogate pair": b'{"x":"\\ud83d"}',
    "bad escape": b'{"x":"\\q"}',
    "pickle": b"\x80\x04K\x01.",
}  # fmt: skip


@pytest.fixture(params=list(ODD_JSON))
def odd_json(request: pytest.FixtureRequest) -> bytes:
    """One odd body; its key is ``x``."""
    name: str = request.param
    return ODD_JSON[name]


@pytest.fixture(scope="session")
def odd_bodies() -> dict[str, bytes]:
    """All odd bodies by name."""
    return ODD_JSON
