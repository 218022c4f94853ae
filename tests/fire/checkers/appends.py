"""Isolation, from histories of transactions that append to lists and read them.

The method is Elle's. Every appended element is unique, so that the longest list that anybody has
read tells in which order its elements were written, and each read tells which versions it saw. From
that follows which transaction must have come before which: one overwrote another's (ww), read
another's (wr), or read what another then overwrote (rw). A circle among them is an anomaly, whose
name says what the circle is made of.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from hermetic import Outcome
from tests.fire.checkers.graphs import Graph, shortest
from tests.fire.checkers.violations import Violation

# What a level lets through. Hermitage has shown what the servers' levels are.
_CYCLES_OF_ONE_READ: Final = frozenset({"G-single"})
_OF_READS: Final = frozenset({"G-single", "G2"})
PERMITTED: Final[Mapping[tuple[str, str], frozenset[str]]] = {
    ("postgresql", "SERIALIZABLE"): frozenset(),
    ("postgresql", "REPEATABLE READ"): frozenset({"G2"}),
    ("postgresql", "READ COMMITTED"): _OF_READS | {"internal"},
    ("mariadb", "SERIALIZABLE"): frozenset(),
    # a write there works on rows that the transaction's own reads do not show
    ("mariadb", "REPEATABLE READ"): _OF_READS | {"internal"},
    ("mariadb", "READ COMMITTED"): _OF_READS | {"internal"},
    ("sqlite", "SERIALIZABLE"): frozenset(),
}


@dataclass(frozen=True, slots=True)
class Append:
    key: int
    element: int


@dataclass(frozen=True, slots=True)
class Read:
    key: int
    elements: tuple[int, ...]


Operation: TypeAlias = Append | Read


@dataclass(slots=True)
class Transaction:
    """One transaction, as its client saw it; times are of a monotonic clock."""

    name: str
    operations: list[Operation] = field(default_factory=list)
    outcome: Outcome | None = None
    begun: float = 0.0
    ended: float = 0.0

    def appends(self) -> Iterator[Append]:
        return (operation for operation in self.operations if isinstance(operation, Append))

    def reads(self) -> Iterator[Read]:
        return (operation for operation in self.operations if isinstance(operation, Read))


def check_appends(
    history: Sequence[Transaction],
    final: Mapping[int, Sequence[int]],
    *,
    permitted: frozenset[str] = frozenset(),
    realtime: bool = False,
) -> list[Violation]:
    """Everything in a history that its level does not permit.

    :param final: every list, read when all was over.
    :param realtime: whether what ended before another began must also come before it.
    """
    found = _History(history, final)
    violations = [
        *found.check_elements(),
        *found.check_reads(),
        *found.check_lost(),
        *(v for each in found.applied for v in _check_internal(each)),
        *_check_circles(found.graph(realtime=realtime), [each.name for each in found.applied]),
    ]
    return [violation for violation in violations if violation.kind not in permitted]


class _History:
    """A history, looked at: which transactions were applied, and in which order lists grew."""

    def __init__(self, history: Sequence[Transaction], final: Mapping[int, Sequence[int]]) -> None:
        self.final = {key: tuple(elements) for key, elements in final.items()}
        self.writers: dict[tuple[int, int], Transaction] = {}
        self.last_of_writer: set[tuple[int, int]] = set()
        for transaction in history:
            last: dict[int, int] = {}
            for append in transaction.appends():
                self.writers[append.key, append.element] = transaction
                last[append.key] = append.element
            self.last_of_writer |= set(last.items())
        self.applied = list(self._applied(history))
        self.reads = [
            *((each.name, read) for each in self.applied for read in each.reads()),
            *(("the final read", Read(key, elements)) for key, elements in self.final.items()),
        ]
        self.order: dict[int, tuple[int, ...]] = {}
        for _, read in self.reads:
            if len(read.elements) > len(self.order.get(read.key, ())):
                self.order[read.key] = read.elements

    def _applied(self, history: Sequence[Transaction]) -> Iterator[Transaction]:
        """Those that committed, and those of which nobody was told, but whose writes are there."""
        there = {(key, element) for key, elements in self.final.items() for element in elements}
        for each in history:
            seen = any((append.key, append.element) in there for append in each.appends())
            if each.outcome is Outcome.COMMITTED or (
                seen and each.outcome is not Outcome.NOT_COMMITTED
            ):
                yield each

    def check_elements(self) -> Iterator[Violation]:
        for who, read in self.reads:
            twice = [element for element, n in Counter(read.elements).items() if n > 1]
            if twice:
                yield Violation("duplicate", f"{who} read {twice} twice in list {read.key}")
            for element in read.elements:
                writer = self.writers.get((read.key, element))
                if writer is None:
                    yield Violation("garbage", f"{who} read {element}, which nobody wrote")
                elif writer.outcome is Outcome.NOT_COMMITTED:
                    told = f"{who} read {element} of {writer.name}, which was rolled back"
                    yield Violation("G1a", told)

    def check_reads(self) -> Iterator[Violation]:
        for who, read in self.reads:
            order = self.order[read.key] if read.elements else ()
            if order[: len(read.elements)] != read.elements:
                told = f"{who} read {read.elements} in list {read.key}, others {order}"
                yield Violation("incompatible order", told)
            if read.elements and (read.key, read.elements[-1]) not in self.last_of_writer:
                writer = self.writers.get((read.key, read.elements[-1]))
                if writer is not None and writer.name != who:
                    told = f"{who} read {read.elements[-1]}, after which {writer.name} wrote more"
                    yield Violation("G1b", told)

    def check_lost(self) -> Iterator[Violation]:
        there = {key: set(elements) for key, elements in self.final.items()}
        for each in self.applied:
            for append in each.appends():
                if append.element not in there.get(append.key, {append.element}):
                    told = f"{append.element} of {each.name} is not in list {append.key}"
                    yield Violation("lost append", told)

    def graph(self, *, realtime: bool) -> Graph:
        graph = Graph()
        numbers = {id(each): number for number, each in enumerate(self.applied)}
        writer_at: defaultdict[int, list[int]] = defaultdict(list)
        for key, elements in self.order.items():
            known = (self.writers.get((key, element)) for element in elements)
            writer_at[key] = [numbers.get(id(writer), -1) for writer in known]
        for writers in writer_at.values():
            for one, following in itertools.pairwise(writers):
                if one >= 0 and following >= 0:
                    graph.add("ww", one, following)
        for number, each in enumerate(self.applied):
            for read in each.reads():
                _add_read(graph, number, len(read.elements), writer_at[read.key])
        if realtime:
            _add_times(graph, self.applied)
        return graph


def _add_read(graph: Graph, reader: int, seen: int, writers: list[int]) -> None:
    if seen > len(writers):
        return
    if seen and writers[seen - 1] >= 0:
        graph.add("wr", writers[seen - 1], reader)
    # what follows one's own write follows by that already
    if seen and writers[seen - 1] == reader:
        return
    if seen < len(writers) and writers[seen] >= 0:
        graph.add("rw", reader, writers[seen])


def _add_times(graph: Graph, applied: Sequence[Transaction]) -> None:
    """Edges from what ended to what began later, without those that follow from others."""
    moments = sorted(
        [(each.begun, 1, number) for number, each in enumerate(applied)]
        + [
            (each.ended, 0, number)
            for number, each in enumerate(applied)
            # whoever was not told may have been applied at any later time
            if each.outcome is Outcome.COMMITTED
        ]
    )
    frontier: set[int] = set()
    for _, begins, number in moments:
        if begins:
            for earlier in frontier:
                graph.add("rt", earlier, number)
        else:
            begun = applied[number].begun
            frontier = {other for other in frontier if applied[other].ended >= begun}
            frontier.add(number)


def _check_internal(transaction: Transaction) -> Iterator[Violation]:
    """A transaction reads what it has read and written itself."""
    known: dict[int, tuple[int, ...]] = {}
    own: defaultdict[int, tuple[int, ...]] = defaultdict(tuple)
    for operation in transaction.operations:
        key = operation.key
        if isinstance(operation, Append):
            own[key] += (operation.element,)
            if key in known:
                known[key] += (operation.element,)
            continue
        seen = operation.elements
        expected = known.get(key)
        tail = own[key]
        if (expected is not None and seen != expected) or seen[len(seen) - len(tail) :] != tail:
            told = f"{transaction.name} read {seen}, having read and written {expected or tail}"
            yield Violation("internal", told)
        known[key] = seen


_PLAIN: Final = ("ww", "wr", "rw")


def _check_circles(graph: Graph, names: Sequence[str]) -> Iterator[Violation]:
    told: set[str] = set()
    for order in ((), ("rt",)):
        if order and not graph.edges["rt"]:
            return
        suffix = "-realtime" if order else ""
        for kind, circle in _circles(graph, order):
            if kind not in told:
                told.add(kind)
                yield Violation(kind + suffix, _told(graph, circle, names))


def _circles(graph: Graph, order: tuple[str, ...]) -> Iterator[tuple[str, list[int]]]:
    """The strongest circle of each kind: of writes, of reads of writes, with one rw or several."""
    writes = ("ww", *order)
    informed = ("ww", "wr", *order)
    for kind, edges, through in (
        ("G0", graph.edges["ww"], writes),
        ("G1c", graph.edges["wr"], informed),
    ):
        yield from _closed(graph, kind, edges, through, through)
    single = list(_closed(graph, "G-single", graph.edges["rw"], informed, (*informed, "rw")))
    yield from single
    if not single:
        everything = (*_PLAIN, *order)
        yield from _closed(graph, "G2", graph.edges["rw"], everything, everything)


def _closed(
    graph: Graph,
    kind: str,
    edges: Iterable[tuple[int, int]],
    through: tuple[str, ...],
    within: tuple[str, ...],
) -> Iterator[tuple[str, list[int]]]:
    """The first of some edges that other edges lead back from."""
    parts = graph.parts(within)
    successors = graph.successors(through)
    for source, target in sorted(edges):
        if source in parts and parts[source] == parts.get(target):
            back = shortest(successors, target, source)
            if back:
                yield kind, [source, *back]
                return


def _told(graph: Graph, circle: Sequence[int], names: Sequence[str]) -> str:
    steps = [names[circle[0]]]
    for source, target in itertools.pairwise(circle):
        steps.append(f"-{'/'.join(graph.kinds_of((source, target)))}-> {names[target]}")
    return " ".join(steps)
