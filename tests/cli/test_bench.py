"""``modelpack bench``: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(sysconfig.get_path("scripts")) / "modelpack"
SERVICE = """
import time
import modelpack
from modelpack import Tensor


@modelpack.service
class Two:
    @modelpack.api(batch=True)
    def predict(self, x: Tensor["float32", "batch", 4]) -> Tensor["float32", "batch"]:
        time.sleep(0.002)
        return x.sum(axis=1)

    @modelpack.api
    def greet(self, name: str) -> str:
        return "hello " + name

    @modelpack.api
    def fail(self, name: str) -> str:
        raise RuntimeError(name)
"""
SHORT = ("--duration", "1s", "--warmup", "200ms")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    (folder / "service.py").write_text(SERVICE)
    return folder


@pytest.fixture(scope="module")
def url(two: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One server for all tests that only load it."""
    environ = {**os.environ, "MODELPACK_HOME": str(tmp_path_factory.mktemp("home"))}
    words = [PROGRAM, "serve", "service:Two", "--port", "0"]
    server = subprocess.Popen(
        words, cwd=two, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert server.stdout is not None
    yield server.stdout.readline().strip()
    server.terminate()
    assert server.wait(timeout=30) == 0
    server.stdout.close()


def facts_in(out: str) -> dict[str, str]:
    return dict(line.split(maxsplit=1) for line in out.splitlines() if line)


def test_run_prints_its_facts_and_nothing_else(cli: Callable[..., Any], url: str) -> None:
    done = cli("bench", url, "-c", 8, *SHORT)
    assert (done.status, done.err) == (0, "")
    facts = facts_in(done.out)
    assert list(facts)[:6] == ["target", "load", "requests", "rate", "latency", "bytes"]
    assert facts["target"].startswith(f"POST {url}/predict  (api 'predict', 1 body of")
    assert facts["load"] == "closed loop, 8 at a time, 1 s after 0.2 s of warm-up"
    assert facts["requests"].endswith("0 failed")
    assert "p99.9" in facts["latency"]
    assert "mean batch" in facts["server"]
    assert facts["advice"]


def test_json_holds_the_run(cli: Callable[..., Any], url: str) -> None:
    done = cli("bench", url, "--rate", 50, "--arrivals", "poisson", *SHORT, "-o", "json")
    assert done.status == 0
    said = json.loads(done.out)
    (run,) = said["runs"]
    assert said["form"] == "modelpack-bench/1"
    assert run["load"]["mode"] == "open"
    assert run["load"]["arrivals"] == "poisson"
    assert run["requests"]["good"] == sum(run["statuses"].values())
    assert set(run["latency_ms"]) == {"p50", "p90", "p99", "p99_9", "max", "mean"}
    assert len(run["slices"]) == 1


def test_source_is_served_for_the_run_and_gone_after(cli: Callable[..., Any], two: Path) -> None:
    done = cli("bench", "service:Two", "--api", "greet", *SHORT, cwd=two)
    assert done.status == 0, done.err
    assert "'service:Two' served for this run" in done.out
    where = facts_in(done.out)["target"].split()[1].removesuffix("/greet")
    again = cli("bench", where)
    again.failed_well(1, "bench-failed")


def test_scaling_is_tried_on_a_server_of_our_own(cli: Callable[..., Any], two: Path) -> None:
    """Its admin socket is known, so that no flag is needed."""
    flags = ("--preset", "repeated-scale", "--duration", "1s", "--warmup", "100ms")
    done = cli("bench", "service:Two", *flags, cwd=two)
    assert done.status == 0, done.err
    assert done.out.startswith("repeated-scale: ")
    assert "no request was lost in 4 changes" in done.out, done.out


def test_runs_are_kept_and_compared(cli: Callable[..., Any], url: str, tmp_path: Path) -> None:
    kept = cli("bench", url, "-c", 4, *SHORT, "--save", "run.json")
    assert kept.status == 0
    assert "kept in 'run.json'" in kept.err
    done = cli("bench", url, "-c", 4, *SHORT, "--compare", "run.json", "--fail-if-worse", 50)
    assert done.status == 0
    assert "FIGURE" in done.out
    assert "no clear difference" in done.out, "one second shows nothing clearly"


def slow_down(file: Path, factor: int) -> None:
    """Make a kept run twenty seconds of one that was so much faster."""
    from modelpack.bench.histogram import Latencies

    kept = json.loads(file.read_text())
    (run,) = kept["runs"]
    one = run["slices"][0]
    latencies = Latencies.decode(one["latencies"])
    latencies.counts = {us // factor: n * factor for us, n in latencies.counts.items()}
    one["latencies"] = latencies.encode()
    one["statuses"] = {status: n * factor for status, n in one["statuses"].items()}
    run["slices"] = [one] * 20
    file.write_text(json.dumps(kept))


def test_clearly_worse_run_ends_with_status_1(
    cli: Callable[..., Any], url: str, tmp_path: Path
) -> None:
    load = ("-c", 4, "--duration", "6s", "--warmup", "200ms")
    cli("bench", url, "-c", 4, *SHORT, "--save", "run.json")
    slow_down(tmp_path / "run.json", 20)
    done = cli("bench", url, *load, "--compare", "run.json", "--fail-if-worse", 20)
    assert done.status == 1
    assert "worse" in done.out
    (line,) = done.err.splitlines()
    assert line.startswith("error[goal-missed]: rate is worse by ")


def test_two_servers_are_compared_in_turns(cli: Callable[..., Any], url: str) -> None:
    flags = ("--against", url, "--rounds", 3, "-d", "1500ms", "--warmup", "100ms", "-o", "json")
    done = cli("bench", url, *flags)
    assert done.status == 0, done.err
    said = json.loads(done.out)
    assert len(said["runs"]) == 2
    figures = said["compared"][0]["figures"]
    assert [one["figure"] for one in figures] == ["rate", "p50", "p90", "p99", "failed"]


def test_goals_decide_about_the_status(cli: Callable[..., Any], url: str) -> None:
    done = cli("bench", url, *SHORT, "--max-p99", 0.1, "--min-rate", 1_000_000)
    assert done.status == 1
    assert done.out.startswith("target"), "what was measured is printed all the same"
    (line,) = done.err.splitlines()
    assert line.startswith("error[goal-missed]: p99 is ")
    assert "below --min-rate 1e+06" in line
    good = cli("bench", url, *SHORT, "--max-p99", 60_000, "--min-rate", 1, "--max-errors", 0)
    assert good.status == 0, good.err


def test_preset_prints_a_table(cli: Callable[..., Any], url: str) -> None:
    done = cli("bench", url, "--preset", "multiple-models", "-d", "300ms", "--warmup", "50ms")
    assert done.status == 0, done.err
    title, head, *rows = done.out.strip().splitlines()
    assert title == "multiple-models: every api at once"
    assert head.split()[:2] == ["API", "RATE/S"]
    assert [row.split()[0] for row in rows] == ["predict", "greet"]
    assert done.err.startswith("multiple-models: about ")


def test_suites_as_json_hold_their_runs(cli: Callable[..., Any], url: str) -> None:
    done = cli("bench", url, "--preset", "ping", "-d", "300ms", "--warmup", "0s", "-o", "json")
    (suite,) = json.loads(done.out)["suites"]
    assert suite["suite"] == "ping"
    assert suite["runs"][0]["target"]["path"] == "/livez"


def test_input_comes_from_standard_input(cli: Callable[..., Any], url: str) -> None:
    body = '{"x": [[1, 2, 3, 4], [1, 2, 3, 4]]}'
    done = cli("bench", url, "--input", "@-", *SHORT, "-o", "json", text=body)
    (run,) = json.loads(done.out)["runs"]
    assert run["server"]["rows"] == 2 * run["server"]["requests"]


@pytest.fixture
def mistaken(url: str, two: Path, tmp_path: Path) -> str:
    """The server, and its service in the current folder."""
    (tmp_path / "service.py").write_bytes((two / "service.py").read_bytes())
    return url


@pytest.mark.parametrize(
    ("words", "expected", "says"),
    [
        (["--api", "predcit"], (3, "not-found"), "did you mean 'predict'?"),
        (["--api", "fail"], (1, "bench-failed"), "'fail' answers 500"),
        (["--input", "none.json"], (3, "not-found"), "no file 'none.json'"),
        (["--rate", "5", "-c", "2"], (2, "usage"), "exclude each other"),
        (["--rate", "-1"], (2, "usage"), "--rate: must be above 0, got -1"),
        (["--duration", "soon"], (2, "usage"), "--duration: must be a time such as 10s"),
        (["--processes", "4", "-c", "2"], (2, "usage"), "--processes: must be at most 2"),
        (["--arrivals", "never"], (2, "usage"), "--arrivals: must be constant or poisson"),
        (["--preset", "throughputs"], (2, "usage"), "did you mean 'throughput'?"),
        (["--preset", "ping", "--compare", "x"], (2, "usage"), "nothing to compare"),
        (["--fail-if-worse", "5"], (2, "usage"), "needs --compare"),
        (["--compare", "none.json"], (3, "not-found"), "no file 'none.json'"),
        (["--compare", "service.py"], (2, "usage"), "is no saved run"),
        (["--header", "secret-without-colon"], (2, "usage"), "must be NAME:VALUE"),
        (["--header", "a: b\r\nc: d"], (2, "usage"), "must be NAME:VALUE"),
        (["--against", "service:Two", "--rounds", "50"], (2, "usage"), "--rounds: each turn"),
    ],
)
def test_mistakes_are_told_in_four_lines(
    cli: Callable[..., Any], mistaken: str, words: list[str], expected: tuple[int, str], says: str
) -> None:
    done = cli("bench", mistaken, *words)
    done.failed_well(*expected)
    assert says in done.err
    assert "secret" not in done.err


def test_source_that_cannot_be_served_says_why(cli: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text("import nothing_of_that_name\n")
    done = cli("bench", "service:Two")
    done.failed_well(1, "bench-failed")
    assert "nothing_of_that_name" in done.err


def test_interrupt_prints_what_was_measured(url: str, tmp_path: Path) -> None:
    words = [PROGRAM, "bench", url, "--duration", "60s", "--warmup", "0s", "--save", "cut.json"]
    bench = subprocess.Popen(
        words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for_load(bench.pid)
    bench.send_signal(signal.SIGINT)
    out, err = bench.communicate(timeout=30)
    assert bench.returncode == 130
    assert "(interrupted)" in facts_in(out)["load"]
    assert "Traceback" not in err
    assert json.loads((tmp_path / "cut.json").read_text())["runs"][0]["interrupted"] is True


def wait_for_load(pid: int) -> None:
    """Wait until a generator has used a second of its processor: it is well under way."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        if (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") > 1.0:
            return
        time.sleep(0.05)
    pytest.fail("no load was sent")


def test_terminal_sees_how_it_goes_and_keeps_none_of_it(url: str, tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    words = [PROGRAM, "bench", url, "--duration", "2s", "--warmup", "0s"]
    environ = {**os.environ, "TERM": "xterm", "NO_COLOR": "1"}
    bench = subprocess.Popen(
        words, cwd=tmp_path, env=environ, stdout=subprocess.PIPE, stderr=follower, text=True
    )
    os.close(follower)
    out, _ = bench.communicate(timeout=60)
    drawn = drain(leader)
    os.close(leader)
    assert "1 of 2 s  " in drawn
    assert "p99" in drawn
    assert drawn.endswith("\r\x1b[2K"), "the line is taken away again"
    assert out.startswith("target")


def drain(terminal: int) -> str:
    """Return all that was drawn on a terminal whose other end is closed."""
    drawn = b""
    with suppress(OSError):
        while select.select([terminal], [], [], 5)[0]:
            piece = os.read(terminal, 65536)
            if not piece:
                break
            drawn += piece
    return drawn.decode()


def test_help_loads_nothing_of_the_generator() -> None:
    code = (
        "import sys; from modelpack.cli.main import main; main(['bench', '--help']);"
        "print([m for m in ('modelpack.bench.session', 'numpy', 'uvloop') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")
