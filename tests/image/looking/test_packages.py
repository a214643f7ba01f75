from __future__ import annotations

from modelpack.image.looking.contents import FileFacts, LayerContents
from modelpack.image.looking.packages import Package, models_of, packages_of
from modelpack.image.looking.tree import merge
from modelpack.image.reading import Kind

SITE = "bundle/venv/lib/python3.11/site-packages"


def layer(files: dict[str, int], texts: dict[str, bytes] | None = None) -> LayerContents:
    facts = {path: FileFacts(Kind.FILE, size, 0o644) for path, size in files.items()}
    return LayerContents("sha256:", files=facts, texts=texts or {})


def installed(name: str, *files: str, site: str = SITE) -> LayerContents:
    """A package of the version 1.0 whose files have ten bytes each."""
    info = f"{site}/{name}-1.0.dist-info"
    record = "".join(f"{file},sha256=x,10\n" for file in files).encode()
    sizes = {f"{site}/{file}": 10 for file in files}
    made = layer({**sizes, f"{info}/RECORD": 0}, {f"{info}/RECORD": record})
    made.files[info] = FileFacts(Kind.FOLDER, 0, 0o755)
    return made


def test_a_package_is_as_large_as_the_files_of_its_record() -> None:
    layers = [installed("Foo_Bar", "foo/a.py", "foo/b.so", "foo/gone.py"), layer({"etc/x": 99})]
    del layers[0].files[f"{SITE}/foo/gone.py"]

    assert packages_of(merge(layers), layers) == [Package("foo-bar", "1.0", 20, SITE)]


def test_bytecode_counts_for_its_package_in_whichever_layer_it_is() -> None:
    bytecode = {
        f"{SITE}/foo/__pycache__/a.cpython-311.pyc": 7,
        f"{SITE}/foo/__pycache__/a.cpython-311.opt-1.pyc": 5,
        f"{SITE}/foo/__pycache__/stranger.cpython-311.pyc": 100,
    }
    layers = [installed("foo", "foo/a.py"), layer(bytecode)]

    assert packages_of(merge(layers), layers)[0].size_bytes == 10 + 7 + 5


def test_what_a_higher_layer_took_away_does_not_count() -> None:
    layers = [installed("foo", "foo/a.py", "foo/b.py"), layer({})]
    layers[1].whiteouts.append(f"{SITE}/foo/a.py")

    assert packages_of(merge(layers), layers)[0].size_bytes == 10


def test_a_package_without_a_record_has_no_size() -> None:
    info = "usr/lib/python3/dist-packages/six-1.16.0.dist-info"
    layers = [layer({f"{info}/METADATA": 5})]
    layers[0].files[info] = FileFacts(Kind.FOLDER, 0, 0o755)

    (found,) = packages_of(merge(layers), layers)

    assert found == Package("six", "1.16.0", None, "usr/lib/python3/dist-packages")
    assert not found.is_bundled


def test_a_record_owns_nothing_outside_and_nothing_twice() -> None:
    """A package that claims the files of others, or those of the system, is not larger for it."""
    layers = [
        installed("a", "a/x.py"),
        installed("b", "a/x.py", "../../../../../etc/passwd", "../../../bin/b"),
        layer({"etc/passwd": 1000, "bundle/venv/bin/b": 3}),
    ]

    sizes = {one.name: one.size_bytes for one in packages_of(merge(layers), layers)}

    assert sizes == {"a": 10, "b": 3}


def test_a_record_that_is_none_does_no_harm() -> None:
    layers = [installed("foo", "foo/a.py")]
    ((path, _),) = layers[0].texts.items()
    layers[0].texts[path] = b'"' + b"x" * 200_000 + b"\xff\0\n,,,\n"

    assert packages_of(merge(layers), layers)[0].size_bytes == 0


def test_the_largest_comes_first() -> None:
    layers = [installed("small", "s.py"), installed("big", "b/1.py", "b/2.py")]

    assert [one.name for one in packages_of(merge(layers), layers)] == ["big", "small"]


def test_models_are_counted_by_name() -> None:
    files = {"bundle/models/a/x": 1, "bundle/models/a/y/z": 2, "bundle/models/b/x": 4, "c": 8}

    assert models_of(merge([layer(files)])) == {"a": 3, "b": 4}
