"""Directed graphs whose edges have kinds: strongly connected parts, and paths within them."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection, Iterator
from typing import TypeAlias

Edge: TypeAlias = tuple[int, int]


class Graph:
    """Nodes are numbers; between two of them there may be edges of several kinds."""

    def __init__(self) -> None:
        self.edges: defaultdict[str, set[Edge]] = defaultdict(set)

    def add(self, kind: str, source: int, target: int) -> None:
        if source != target:
            self.edges[kind].add((source, target))

    def kinds_of(self, edge: Edge) -> list[str]:
        return [kind for kind, edges in self.edges.items() if edge in edges]

    def successors(self, kinds: Collection[str]) -> dict[int, list[int]]:
        found: defaultdict[int, list[int]] = defaultdict(list)
        for kind in kinds:
            for source, target in self.edges[kind]:
                found[source].append(target)
        return dict(found)

    def parts(self, kinds: Collection[str]) -> dict[int, int]:
        """Which strongly connected part each node is in; those that are in none by themselves."""
        return {
            node: number
            for number, part in enumerate(components(self.successors(kinds)))
            if len(part) > 1
            for node in part
        }

    def path(self, source: int, target: int, kinds: Collection[str]) -> list[int]:
        """The nodes of a shortest path; empty where there is none."""
        return shortest(self.successors(kinds), source, target)


def shortest(successors: dict[int, list[int]], source: int, target: int) -> list[int]:
    came_from: dict[int, int | None] = {source: None}
    queue = deque([source])
    while queue:
        node = queue.popleft()
        if node == target:
            found = []
            step: int | None = node
            while step is not None:
                found.append(step)
                step = came_from[step]
            return found[::-1]
        for following in successors.get(node, ()):
            if following not in came_from:
                came_from[following] = node
                queue.append(following)
    return []


def components(successors: dict[int, list[int]]) -> Iterator[list[int]]:
    """Tarjan's strongly connected components, without recursion."""
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    on_stack: set[int] = set()
    for root in successors:
        if root in index:
            continue
        work: list[tuple[int, Iterator[int]]] = [(root, iter(successors.get(root, ())))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while work:
            node, rest = work[-1]
            following = next(rest, None)
            if following is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    yield _popped(stack, on_stack, node)
            elif following not in index:
                index[following] = low[following] = len(index)
                stack.append(following)
                on_stack.add(following)
                work.append((following, iter(successors.get(following, ()))))
            elif following in on_stack:
                low[node] = min(low[node], index[following])


def _popped(stack: list[int], on_stack: set[int], node: int) -> list[int]:
    found = []
    while True:
        found.append(stack.pop())
        on_stack.discard(found[-1])
        if found[-1] == node:
            return found
