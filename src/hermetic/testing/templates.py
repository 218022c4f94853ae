"""Databases made from a template: for tests of what cannot be rolled back."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from sqlalchemy import URL, Engine, create_engine
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from sqlalchemy.util import greenlet_spawn

from ..database import Database
from ..dialects.drivers import family_of, parse_url, url_for
from .cloning import cloning_of

Make = Callable[[Database], object]


class Template:
    """A database that is copied for each test, and never written to by one.

    ``with`` or ``async with`` makes it, if there is a function that fills it, and drops it again.
    """

    def __init__(self, url: URL, make: Make | None) -> None:
        self._cloning = cloning_of(family_of(url))
        self._make = make
        self._given = url
        self.url = url if make is None else self._named("template")

    def __repr__(self) -> str:
        return f"<Template {self.url.render_as_string(hide_password=True)}>"

    def copy(self, **options: Any) -> Copy:
        """A Database on a copy, as a block, which drops the copy at its end::

            with template.copy() as db: ...

        :param options: those of the Database.
        """
        return Copy(self, self._named("copy"), options)

    def _named(self, what: str) -> URL:
        name = f"hermetic_{what}_{os.getpid()}_{secrets.token_hex(4)}"
        return self._cloning.named(self._given, name)

    # ------------------------------------------------------------ the work, in each world

    def _run(self, work: Callable[[Engine | None], None]) -> None:
        """Do something from the server's entrance, by threads' driver."""
        if not self._cloning.served:
            work(None)
            return
        engine = create_engine(self._entrance(asynchronous=False), **_ONE_BY_ONE)
        try:
            work(engine)
        finally:
            engine.dispose()

    async def _arun(self, work: Callable[[Engine | None], None]) -> None:
        """The same by asyncio's driver."""
        if not self._cloning.served:
            work(None)
            return
        engine = create_async_engine(self._entrance(asynchronous=True), **_ONE_BY_ONE)
        try:
            await greenlet_spawn(work, engine.sync_engine)
        finally:
            await engine.dispose()

    def _entrance(self, *, asynchronous: bool) -> URL:
        return url_for(self._cloning.entrance(self._given), asynchronous=asynchronous)

    def _create(self, engine: Engine | None) -> None:
        self._cloning.create(engine, self.url)

    def _drop(self, engine: Engine | None) -> None:
        self._cloning.drop(engine, self.url)

    # ------------------------------------------------------------ as a block

    def __enter__(self) -> Self:
        if self._make is not None:
            self._run(self._create)
            try:
                with Database(self.url) as database:
                    self._make(database)
            except BaseException:
                self._run(self._drop)
                raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._make is not None:
            self._run(self._drop)

    async def __aenter__(self) -> Self:
        if self._make is not None:
            await self._arun(self._create)
            try:
                async with Database(self.url) as database:
                    made: Any = self._make(database)
                    if hasattr(made, "__await__"):
                        await made
            except BaseException:
                await self._arun(self._drop)
                raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._make is not None:
            await self._arun(self._drop)


class Copy:
    """A block with a Database on a copy of a template."""

    def __init__(self, template: Template, url: URL, options: dict[str, Any]) -> None:
        self._template = template
        self._options = options
        self._database: Database | None = None
        self.url = url

    def _clone(self, engine: Engine | None) -> None:
        self._template._cloning.clone(engine, self._template.url, self.url)

    def _drop(self, engine: Engine | None) -> None:
        self._template._cloning.drop(engine, self.url)

    def __enter__(self) -> Database:
        self._template._run(self._clone)
        try:
            self._database = Database(self.url, **self._options)
        except BaseException:
            self._template._run(self._drop)
            raise
        return self._database

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._database is not None
        try:
            self._database.close()
        finally:
            self._template._run(self._drop)

    async def __aenter__(self) -> Database:
        await self._template._arun(self._clone)
        try:
            self._database = Database(self.url, **self._options)
        except BaseException:
            await self._template._arun(self._drop)
            raise
        return self._database

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._database is not None
        try:
            await self._database.aclose()
        finally:
            await self._template._arun(self._drop)


_ONE_BY_ONE: dict[str, Any] = {"poolclass": NullPool, "isolation_level": "AUTOCOMMIT"}


def template(url: str | URL, make: Make | None = None) -> Template:
    """A database whose copies tests may do anything to, DDL and raw COMMITs included.

    PostgreSQL copies it by ``CREATE DATABASE … TEMPLATE``, SQLite by its backup, MariaDB and MySQL
    table by table: tables, rows, triggers, routines and views.

    :param url: with ``make``, the server's; the template is a new database there. Without, the
        database that is to be copied, which stays; nobody may be connected to it.
    :param make: fills the template, once; under asyncio it may be a coroutine function. It is given
        a Database.
    :raises TemplateError: nothing is known of how to copy such a database.
    """
    return Template(parse_url(url), make)
