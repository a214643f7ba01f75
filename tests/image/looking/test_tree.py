from __future__ import annotations

from collections.abc import Sequence

from modelpack.image.looking.contents import FileFacts, LayerContents
from modelpack.image.looking.tree import Tree, merge
from modelpack.image.reading import Kind


def layer(
    files: dict[str, int | str | None], *, gone: Sequence[str] = (), opaque: Sequence[str] = ()
) -> LayerContents:
    """Sizes are files, texts links, None folders."""
    facts = {
        path: FileFacts(Kind.FOLDER, 0, 0o755)
        if said is None
        else FileFacts(Kind.SYMLINK, 0, 0o777, link=said)
        if isinstance(said, str)
        else FileFacts(Kind.FILE, said, 0o644)
        for path, said in files.items()
    }
    return LayerContents("sha256:", files=facts, whiteouts=list(gone), opaque=list(opaque))


def sizes(tree: Tree) -> dict[str, tuple[int, int]]:
    """Return size and layer of each path."""
    return {path: (one.facts.size, one.layer) for path, one in tree.files.items()}


def test_a_higher_layer_hides_files_of_a_lower_one() -> None:
    tree = merge([layer({"a": 5, "b": 6}), layer({"a": 7})])

    assert sizes(tree) == {"a": (7, 1), "b": (6, 0)}
    assert tree.hidden_bytes == [5, 0]


def test_a_whiteout_takes_away_all_below_it_and_nothing_of_its_own_layer() -> None:
    tree = merge(
        [
            layer({"d": None, "d/a": 1, "d/e": None, "d/e/b": 2, "other": 3}),
            layer({"d/new": 4}, gone=["d", "not/there"]),
        ]
    )

    assert sizes(tree) == {"d/new": (4, 1), "other": (3, 0)}
    assert tree.hidden_bytes == [3, 0]


def test_an_opaque_folder_hides_what_is_below_and_stays_itself() -> None:
    tree = merge([layer({"d": None, "d/a": 1}), layer({"d/b": 2}, opaque=["d", "not/there"])])

    assert sizes(tree) == {"d": (0, 0), "d/b": (2, 1)}
    assert tree.hidden_bytes == [1, 0]


def test_a_root_that_is_opaque_hides_everything() -> None:
    tree = merge([layer({"a": 1, "d/b": 2}), layer({"c": 3}, opaque=[""])])

    assert sizes(tree) == {"c": (3, 1)}


def test_a_file_in_place_of_a_folder_hides_what_was_in_it() -> None:
    tree = merge([layer({"d": None, "d/a": 1}), layer({"d": 2})])

    assert sizes(tree) == {"d": (2, 1)}
    assert tree.hidden_bytes == [1, 0]


def test_a_folder_again_hides_nothing() -> None:
    tree = merge([layer({"d": None, "d/a": 1}), layer({"d": None})])

    assert sizes(tree) == {"d": (0, 1), "d/a": (1, 0)}
    assert tree.hidden_bytes == [0, 0]


def test_a_path_below_a_link_of_the_base_is_odd() -> None:
    """Such a layer replaces the link, and with /lib the whole container."""
    tree = merge([layer({"lib": "usr/lib"}), layer({"lib/x": 1})])

    assert tree.odd == ["layer 2 puts a folder in place of the symlink 'lib'"]
    assert "lib" not in tree.files


def test_a_name_that_begins_alike_is_another_one() -> None:
    tree = merge([layer({"bundle/a": 1, "bundles/b": 2})])

    assert [path for path, _ in tree.below("bundle")] == ["bundle/a"]


def test_many_whiteouts_and_deep_paths_are_no_trap() -> None:
    """The square of their number would run into the timeout, their depth into that of the stack."""
    deep = "/".join("x" * 2000)
    many = {f"d/{number}": 1 for number in range(50_000)}
    tree = merge([layer({**many, deep: 1}), layer({}, gone=[*many, deep.partition("/")[0]])])

    assert tree.files == {}
