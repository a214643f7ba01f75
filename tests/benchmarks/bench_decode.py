"""Processor time that it takes to turn a body into arrays: each decoder on each kind of body.

    python tests/benchmarks/bench_decode.py [--quick]

``plain`` is orjson and a list for each row, ``short row`` packs one parsed row with struct, ``simd``
is simdjson's buffer, ``chosen`` what the server uses; ``binary`` is the same array as
application/octet-stream.  ``stall`` is the longest that another thread had to wait for the
interpreter while a long body was decoded.  All in microseconds, the least of several rounds.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
import timeit
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson

from modelpack.sdk.api import ApiSpec, Parameter
from modelpack.sdk.tensor import TensorSpec, TensorValue
from modelpack.server.bodies import decoders
from modelpack.server.bodies.codecs import plain_decoder
from modelpack.server.bodies.readers import BodyReader
from modelpack.server.bodies.simd import array_decoder

Decode = Callable[[bytes], Any]

SHAPES = ((1, 4), (1, 16), (1, 32), (1, 64), (1, 128), (1, 784), (8, 4), (32, 4), (100, 30),
          (1000, 4), (8, 784), (3, 224, 224))  # fmt: skip
LONG = (0.25, 1.0, 4.0, 9.5)
"""Sizes of long bodies, in MiB."""


def api_of(shape: tuple[int, ...]) -> ApiSpec:
    """Return an api that takes arrays of rows."""
    value = TensorValue(TensorSpec("float32", ("batch", *shape[1:])))
    return ApiSpec(
        name="predict",
        route="/predict",
        attribute="predict",
        parameters=(Parameter(name="x", value=value),),
        returns=value,
    )


def body_of(shape: tuple[int, ...], digits: int) -> tuple[bytes, np.ndarray[Any, Any]]:
    """Return a JSON body with numbers of so many digits, and its array."""
    numbers = np.random.default_rng(1).random(shape).round(digits)
    return orjson.dumps({"x": numbers.tolist()}), numbers.astype("float32")


def cost_us(decode: Decode, body: bytes, rounds: int) -> float:
    """Return what one call costs, in microseconds."""
    once = max(timeit.timeit(lambda: decode(body), number=3) / 3, 1e-7)
    number = max(3, int(0.02 / once))
    return min(timeit.repeat(lambda: decode(body), number=number, repeat=rounds)) / number * 1e6


def decoders_of(shape: tuple[int, ...], array: np.ndarray[Any, Any]) -> dict[str, Decode]:
    """Return the decoders by name."""
    api = api_of(shape)
    plain = plain_decoder(api)
    simd = array_decoder(api, plain)
    assert simd is not None
    fields = {
        b"content-type": b"application/octet-stream",
        b"modelpack-dtype": b"float32",
        b"modelpack-shape": ",".join(map(str, shape)).encode(),
    }
    binary, data = BodyReader(api).reader_for(fields), array.tobytes()
    found: dict[str, Decode] = {
        "plain": plain,
        "simd": simd,
        "chosen": decoders.json_decoder(api),
        "binary": lambda _: binary(data),
    }
    row = decoders.row_decoder(api, simd, sys.maxsize) if shape[0] == 1 else None
    if row is not None:
        found["short row"] = row
    return found


def table(rounds: int) -> list[str]:
    """Return the table of costs."""
    names = ("plain", "short row", "simd", "chosen", "binary")
    lines = [f"{'array':>14}{'digits':>7}{'bytes':>9}" + "".join(f"{name:>11}" for name in names)]
    for shape in SHAPES:
        for digits in (4, 17):
            body, array = body_of(shape, digits)
            costs = {
                name: cost_us(decode, body, rounds)
                for name, decode in decoders_of(shape, array).items()
            }
            cells = "".join(f"{costs[n]:>11.1f}" if n in costs else f"{'–':>11}" for n in names)
            lines.append(f"{'×'.join(map(str, shape)):>14}{digits:>7}{len(body):>9}{cells}")
    return lines


def stall_ms(decode: Decode, body: bytes) -> tuple[float, float]:
    """Return how long a decoding takes, and the longest that another thread waits meanwhile."""
    waits: list[float] = []
    may_end = threading.Event()

    def other() -> None:
        while not may_end.is_set():
            before = time.perf_counter()
            time.sleep(0.0001)
            waits.append(time.perf_counter() - before)

    thread = threading.Thread(target=other)
    thread.start()
    time.sleep(0.02)
    waits.clear()
    before = time.perf_counter()
    decode(body)
    took = time.perf_counter() - before
    may_end.set()
    thread.join()
    return took * 1000, max(waits) * 1000


def stalls(rounds: int) -> list[str]:
    """Return the table of waits."""
    lines = ["", f"{'long body':>14}{'MiB':>7}{'takes ms':>12}{'stall ms':>12}{'wrong: ms':>12}"]
    for size in LONG:
        shape = (int(size * 2**20 / 19.3 / 784) + 1, 784)
        body, array = body_of(shape, 17)
        decode = decoders_of(shape, array)["chosen"]
        took, stall = map(min, zip(*[stall_ms(decode, body) for _ in range(rounds)], strict=True))
        wrong = min(stall_ms(refused(decode), body[:-3] + b',"2"]]}')[0] for _ in range(2))
        cells = f"{took:>12.1f}{stall:>12.1f}{wrong:>12.1f}"
        lines.append(f"{'×'.join(map(str, shape)):>14}{len(body) / 2**20:>7.2f}{cells}")
    return lines


def refused(decode: Decode) -> Decode:
    """Return a decoder that is expected to refuse."""

    def refuse(body: bytes) -> None:
        try:
            decode(body)
        except Exception:
            return
        raise AssertionError("it was taken")

    return refuse


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a few seconds")
    rounds = 3 if parser.parse_args().quick else 15
    for line in table(rounds):
        print(line)
    for line in stalls(rounds):
        print(line)


if __name__ == "__main__":
    main()
