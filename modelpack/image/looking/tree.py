"""Lays layers over each other: what a container sees, and what lies hidden below.

    LayerContents, lowest first ──merge──► Tree: path ──► its facts, and the layer that it is from

A file of a higher layer hides one of a lower one, a whiteout takes a path away with all below it;
bytes that nobody sees any more are still pulled, and counted for their layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from modelpack.image.looking.contents import MAX_ODD, FileFacts, LayerContents
from modelpack.image.reading import Kind
from modelpack.store.names import shown


@dataclass(frozen=True, slots=True)
class Placed:
    """A path that a container sees."""

    facts: FileFacts
    layer: int
    """Number of the layer that it is from, 0 for the lowest."""


@dataclass(slots=True)
class Tree:
    """What a container sees of its image."""

    files: dict[str, Placed]
    """By path, in order."""
    hidden_bytes: list[int]
    """For each layer: bytes of its files that higher ones replace or take away."""
    odd: list[str]
    """What is strange about how the layers fit together."""

    def below(self, folder: str) -> Iterator[tuple[str, Placed]]:
        """Give what is in a folder and in those within it."""
        start = f"{folder}/"
        return ((path, one) for path, one in self.files.items() if path.startswith(start))


@dataclass(slots=True)
class _Node:
    placed: Placed | None = None
    children: dict[str, _Node] = field(default_factory=dict)


def merge(layers: Sequence[LayerContents]) -> Tree:
    """Lay the layers over each other."""
    root = _Node()
    tree = Tree({}, [0] * len(layers), [])
    for number, layer in enumerate(layers):
        for folder in layer.opaque:
            node = _find(root, folder)
            if node is not None:
                _hide_children(node, tree)
        for path in layer.whiteouts:
            _remove(root, path, tree)
        for path, facts in layer.files.items():
            _place(root, path, Placed(facts, number), tree)
    tree.files = dict(_walk(root))
    return tree


def _place(root: _Node, path: str, placed: Placed, tree: Tree) -> None:
    node, parts = root, path.split("/")
    for depth, part in enumerate(parts[:-1], start=1):
        node = node.children.setdefault(part, _Node())
        above = node.placed
        if above is not None and above.facts.kind is not Kind.FOLDER:
            if above.layer != placed.layer and len(tree.odd) < MAX_ODD:
                what = f"the {above.facts.kind} '{shown('/'.join(parts[:depth]))}'"
                tree.odd.append(f"layer {placed.layer + 1} puts a folder in place of {what}")
            _hide(node, tree)
            node.placed = None
    node = node.children.setdefault(parts[-1], _Node())
    if placed.facts.kind is not Kind.FOLDER:
        _hide_children(node, tree)
    _hide(node, tree)
    node.placed = placed


def _find(root: _Node, path: str) -> _Node | None:
    node: _Node | None = root
    for part in path.split("/") if path else ():
        node = node.children.get(part) if node is not None else None
    return node


def _remove(root: _Node, path: str, tree: Tree) -> None:
    folder, _, name = path.rpartition("/")
    parent = _find(root, folder)
    node = parent.children.pop(name, None) if parent is not None else None
    if node is not None:
        _hide_children(node, tree)
        _hide(node, tree)


def _hide_children(node: _Node, tree: Tree) -> None:
    waiting = list(node.children.values())
    node.children.clear()
    while waiting:
        one = waiting.pop()
        _hide(one, tree)
        waiting += one.children.values()


def _hide(node: _Node, tree: Tree) -> None:
    if node.placed is not None:
        tree.hidden_bytes[node.placed.layer] += node.placed.facts.size


def _walk(root: _Node) -> Iterator[tuple[str, Placed]]:
    waiting = [("", root)]
    while waiting:
        path, node = waiting.pop()
        if node.placed is not None:
            yield path, node.placed
        names = sorted(node.children, reverse=True)
        waiting += [(f"{path}/{name}" if path else name, node.children[name]) for name in names]
