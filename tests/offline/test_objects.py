"""Against a server that speaks S3: rows from a bucket, answers into one, going on there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelpack.errors import ConflictError, NotFoundError, UsageError
from modelpack.offline.job import Job
from modelpack.offline.objects import Objects
from modelpack.offline.places import RemotePlace
from modelpack.offline.run import run_batch

pytestmark = pytest.mark.skipif(find_spec("moto") is None, reason="'moto' is not installed")


@pytest.fixture
def bucket(s3: str, request: Any) -> Iterator[Objects]:
    """A place in a bucket that no other test uses."""
    objects = Objects(f"s3://rows/{request.node.name.lower()}")
    objects.client.create_bucket(Bucket="rows")
    yield objects
    objects.client.close()


def put(bucket: Objects, name: str, data: bytes) -> str:
    place = bucket.at(f"{bucket.key}/{name}")
    place.put(data)
    return place.url


def names_in(bucket: Objects) -> list[str]:
    start = len(bucket.key) + 1
    return [one.key[start:] for one in bucket.listed()]


def job_of(bucket: Objects, given: str, output: str, **settings: Any) -> Job:
    settings = {"keep": ("id",), "part_rows": 10, **settings}
    return Job(api="predict", input=given, output=f"{bucket.url}/{output}", **settings)


def test_rows_of_a_bucket_are_answered_into_a_bucket(
    bucket: Objects, rows_csv: Path, doubling: Any
) -> None:
    given = put(bucket, "rows.csv", rows_csv.read_bytes())
    summary = run_batch(job_of(bucket, given, "out.jsonl"), doubling, source={})
    assert (summary.rows, summary.bad) == (50, 3)
    assert names_in(bucket) == ["out.jsonl", "out.jsonl.bad.jsonl", "rows.csv"]
    lines = bucket.at(f"{bucket.key}/out.jsonl").read().splitlines()
    assert [json.loads(line)["id"] for line in lines] == [
        f"n{i}" for i in range(50) if i not in (7, 12, 30)
    ]
    with pytest.raises(ConflictError, match="is there already"):
        run_batch(job_of(bucket, given, "out.jsonl"), doubling, source={})


def test_a_run_in_a_bucket_goes_on_where_another_machine_was_lost(
    bucket: Objects, rows_csv: Path, doubling: Any
) -> None:
    given = put(bucket, "rows.csv", rows_csv.read_bytes())

    class Lost(doubling):  # type: ignore[misc]
        def receive(self) -> Any:
            if self.chunks > 4:
                os._exit(9)  # nothing of it is tidied up
            return super().receive()

    job = job_of(bucket, given, "parts/", output_format="csv")
    child = os.fork()
    if child == 0:
        try:
            bucket.client.close()
            run_batch(job, Lost, source={})
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    summary = run_batch(job, doubling, source={})
    assert summary.resumed_rows > 0
    text = b"".join(
        bucket.at(f"{bucket.key}/{name}").read().partition(b"\n")[2]
        for name in names_in(bucket)
        if name.startswith("parts/part-")
    )
    rows = [int(line.partition(b",")[0]) for line in text.splitlines()]
    assert rows == [i for i in range(50) if i not in (7, 12, 30)]


def test_the_run_that_began_last_owns_the_place(
    bucket: Objects, rows_csv: Path, doubling: Any
) -> None:
    given = put(bucket, "rows.csv", rows_csv.read_bytes())
    job = job_of(bucket, given, "out.csv")

    class Slow(doubling):  # type: ignore[misc]
        def receive(self) -> Any:
            if self.chunks > 4:
                with RemotePlace(bucket.at(f"{bucket.key}/out.csv.batch")).hold():
                    pass  # as another run does first
            return super().receive()

    with pytest.raises(ConflictError, match="another run has taken over"):
        run_batch(job, Slow, source={})
    assert run_batch(job, doubling, source={}).rows == 50


def test_two_runs_that_write_at_once_are_not_mixed(
    bucket: Objects, rows_csv: Path, doubling: Any
) -> None:
    given = put(bucket, "rows.csv", rows_csv.read_bytes())
    job = job_of(bucket, given, "parts/", output_format="csv")

    class Overtaken(doubling):  # type: ignore[misc]
        def receive(self) -> Any:
            if self.chunks > 4:  # somebody who has not seen yet that the place is no longer theirs
                for number in range(9):
                    with suppress(ConflictError):
                        name = f"{bucket.key}/parts/part-{number:06d}.csv"
                        bucket.at(name).put(b"theirs", is_new=True)
            return super().receive()

    with pytest.raises(ConflictError, match="another run writes"):
        run_batch(job, Overtaken, source={})
    assert run_batch(job, doubling, source={}).rows == 50
    found = [n for n in names_in(bucket) if n.startswith("parts/part-")]
    assert all(bucket.at(f"{bucket.key}/{n}").read() != b"theirs" for n in found)


def test_long_arrays_are_read_and_written_in_parts(bucket: Objects, doubling: Any) -> None:
    import io

    rows = np.arange(2_400_000, dtype=np.float64).reshape(-1, 2)
    file = io.BytesIO()
    np.save(file, rows)
    given = put(bucket, "rows.npy", file.getvalue())
    job = job_of(bucket, given, "out.npy", keep=(), part_rows=1_000_000)

    run_batch(job, doubling, source={})
    place = bucket.at(f"{bucket.key}/out.npy")
    with place.open() as data:
        answers = np.load(io.BytesIO(data.read()))
    assert np.array_equal(answers, rows.astype(np.float32) * 2)
    assert "-" in place.head().etag  # as multipart uploads have it


def test_objects_below_a_prefix_are_rows(bucket: Objects) -> None:
    from modelpack.offline.inputs import find_input

    for name in ("b/2.png", "a.png", "a.txt"):
        put(bucket, f"images/{name}", name.encode())
    found = find_input(f"{bucket.url}/images/")
    assert found.listing is not None
    assert [entry[0] for entry in found.listing.entries] == ["a.png", "a.txt", "b/2.png"]
    assert found.listing.read("b/2.png") == b"b/2.png"


def test_a_connection_that_breaks_is_opened_where_it_broke(bucket: Objects) -> None:
    data = bytes(range(256)) * 40
    place = Objects(put(bucket, "data", data), bucket.client)

    class Breaking:
        def __init__(self, body: Any) -> None:
            self._body = body
            self._left = 1000

        def read(self, size: int) -> bytes:
            if not self._left:
                raise ConnectionResetError
            found = self._body.read(min(size, self._left))
            self._left -= len(found)
            return bytes(found)

        def close(self) -> None:
            self._body.close()

    class Client:
        def __getattr__(self, name: str) -> Any:
            return getattr(bucket.client, name)

        def get_object(self, **wanted: Any) -> Any:
            found = bucket.client.get_object(**wanted)
            return {**found, "Body": Breaking(found["Body"])}

    with Objects(place.url, Client()).open() as file:
        assert file.read() == data
        file.seek(-5, os.SEEK_END)
        assert file.read() == data[-5:]


def test_what_is_not_in_a_bucket_is_said(bucket: Objects) -> None:
    with pytest.raises(NotFoundError, match=r"nothing\.csv"):
        Objects(f"{bucket.url}/nothing.csv").head()
    with pytest.raises(UsageError, match="names no object"):
        Objects("s3:///key")
