"""What a Database offers to whoever wants to see what its scopes do."""

from __future__ import annotations

from ..errors import ConfigurationError
from ..nearby.door import door
from ..options import DatabaseOptions
from ..registry import Registry
from .recording import Expected, Record
from .watcher import Watcher


class Watched:
    """Has a registry that can be watched."""

    name: str
    options: DatabaseOptions
    registry: Registry

    def _begin_watching(self) -> None:
        options = self.options.watch
        if options is None:
            return
        self.registry.watch = watcher = Watcher(self.registry, options)
        if options.nearby:
            door.add(self)
            watcher.at_work = door.open

    def _end_watching(self) -> None:
        door.leave(self)

    @property
    def watch(self) -> Watcher:
        """What is seen of a Database made with ``watch=``: ended scopes, series, findings.

        :raises ConfigurationError: nobody watches it.
        """
        watcher: Watcher | None = self.registry.watch
        if self.options.watch is None or watcher is None:
            raise ConfigurationError(
                f"Database {self.name!r} is not watched.",
                hint="Make it with watch=True, or with watch='strict' in tests.",
            )
        return watcher

    def record(self) -> Record:
        """A block whose scopes and statements are kept: ``with db.record() as record:``."""
        return Record(self.registry)

    def assert_statements(
        self, *, max: int | None = None, min: int | None = None, exactly: int | None = None
    ) -> Expected:
        """A block that may send so many statements; it is a Record.

        :raises AssertionError: at its end, it sent more or fewer; the message lists them.
        """
        return Expected(self.registry, {"max": max, "min": min, "exactly": exactly})
