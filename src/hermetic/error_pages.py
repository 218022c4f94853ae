"""Where the page of an error is: its section of ``docs/errors.md``."""

from __future__ import annotations

from typing import Final

# Where docs/errors.md is on the web, without the anchor. None yet: ``hermetic error`` prints the
# pages, which come with the package.
ADDRESS: Final = ""


def page_of(cls: type[BaseException]) -> str:
    """The name of an error's page: of the nearest class that is hermetic's own, and public."""
    ours = (each for each in cls.__mro__ if each.__module__.partition(".")[0] == __package__)
    return next(each.__name__ for each in ours if not each.__name__.startswith("_"))


def pointer(page: str) -> str:
    """One line that says how to read a page."""
    command = f"hermetic error {page}"
    if not ADDRESS:
        return f"For more on this error run: {command}"
    return f"For more on this error see {ADDRESS}#{page.lower()} or run: {command}"


class Page:
    """An error's ``page``: not a property, so that a subclass may have a ``page`` of its own."""

    def __get__(self, error: BaseException | None, cls: type[BaseException]) -> str:
        return page_of(cls)


class Notes:
    """An error's ``__notes__``, which begin with the pointer to its page.

    They are made when somebody looks: an error that is caught, or run again, costs nothing more.
    From then on they are the instance's, which is looked into first: ``add_note()`` appends to
    them, a pickle has them, and who assigns others has those alone.
    """

    def __get__(self, error: BaseException | None, cls: type[BaseException]) -> list[str]:
        if error is None:
            # as of any other class of errors
            raise AttributeError("__notes__")
        # two threads that look at once have the same list
        notes: list[str] = error.__dict__.setdefault("__notes__", [pointer(page_of(cls))])
        return notes
