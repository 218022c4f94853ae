"""How type checkers see that a session takes a plain SQL string wherever a statement goes.

Nothing here exists at run time. The other signatures repeat SQLAlchemy's, because an overload
cannot be added to from outside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Never, TypeVar, TypeVarTuple, overload

from sqlalchemy import orm
from sqlalchemy.ext import asyncio as sa_asyncio

if TYPE_CHECKING:
    from sqlalchemy import Executable, Result, ScalarResult
    from sqlalchemy.ext.asyncio import AsyncResult, AsyncScalarResult
    from sqlalchemy.sql.selectable import TypedReturnsRows

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")
_S = TypeVar("_S", bound=orm.Session)
_A = TypeVar("_A", bound=sa_asyncio.AsyncSession)


class StringSession(orm.Session):
    """A Session whose statements may be strings."""

    if TYPE_CHECKING:

        @overload
        def execute(
            self, statement: TypedReturnsRows[*_Ts], params: Any = None, **kw: Any
        ) -> Result[*_Ts]: ...
        @overload
        def execute(
            self, statement: Executable | str, params: Any = None, **kw: Any
        ) -> Result[*tuple[Any, ...]]: ...
        def execute(self, *args: Any, **kwargs: Any) -> Any: ...

        # mypy 2.4 takes what accepts Never for an overlap with everything
        @overload  # type: ignore[override]
        def scalar(
            self, statement: TypedReturnsRows[Never], params: Any = None, **kw: Any
        ) -> Any | None: ...
        @overload
        def scalar(
            self, statement: TypedReturnsRows[_T], params: Any = None, **kw: Any
        ) -> _T | None: ...
        @overload
        def scalar(self, statement: Executable | str, params: Any = None, **kw: Any) -> Any: ...
        def scalar(self, *args: Any, **kwargs: Any) -> Any: ...

        @overload
        def scalars(
            self, statement: TypedReturnsRows[_T], params: Any = None, **kw: Any
        ) -> ScalarResult[_T]: ...
        @overload
        def scalars(
            self, statement: Executable | str, params: Any = None, **kw: Any
        ) -> ScalarResult[Any]: ...
        def scalars(self, *args: Any, **kwargs: Any) -> Any: ...


class StringScopedSession(orm.scoped_session[_S]):
    """A scoped_session whose statements may be strings."""

    if TYPE_CHECKING:

        @overload
        def execute(
            self, statement: TypedReturnsRows[*_Ts], params: Any = None, **kw: Any
        ) -> Result[*_Ts]: ...
        @overload
        def execute(
            self, statement: Executable | str, params: Any = None, **kw: Any
        ) -> Result[*tuple[Any, ...]]: ...
        def execute(self, *args: Any, **kwargs: Any) -> Any: ...

        # mypy 2.4 takes what accepts Never for an overlap with everything
        @overload  # type: ignore[override]
        def scalar(
            self, statement: TypedReturnsRows[Never], params: Any = None, **kw: Any
        ) -> Any | None: ...
        @overload
        def scalar(
            self, statement: TypedReturnsRows[_T], params: Any = None, **kw: Any
        ) -> _T | None: ...
        @overload
        def scalar(self, statement: Executable | str, params: Any = None, **kw: Any) -> Any: ...
        def scalar(self, *args: Any, **kwargs: Any) -> Any: ...

        @overload
        def scalars(
            self, statement: TypedReturnsRows[_T], params: Any = None, **kw: Any
        ) -> ScalarResult[_T]: ...
        @overload
        def scalars(
            self, statement: Executable | str, params: Any = None, **kw: Any
        ) -> ScalarResult[Any]: ...
        def scalars(self, *args: Any, **kwargs: Any) -> Any: ...


class AsyncStringScopedSession(sa_asyncio.async_scoped_session[_A]):
    """An async_scoped_session whose statements may be strings."""

    if TYPE_CHECKING:

        @overload
        async def execute(
            self, statement: TypedReturnsRows[*_Ts], params: Any = None, **kw: Any
        ) -> Result[*_Ts]: ...
        @overload
        async def execute(
            self, statement: Executable | str, params: Any = None, **kw: Any
        ) -> Result[*tuple[Any, ...]]: ...
        async def execute(self, *args: Any, **kwargs: Any) -> Any: ...

        # mypy 2.4 takes what accepts Never for an overlap with everything
        @overload  # type: ignore[override]
        async def scalar(
            self, statement: TypedReturnsRows[Never], params: Any = None, **kw: Any
        ) -> Any | None: ...
        @overload
        async def scalar(
            self, statement: TypedReturnsRows[_T], params: Any = None, **kw: Any
        ) -> _T | None: ...
        @overload
        async def scalar(
            self, statement: Executable | str, params: Any = None, **kw: Any
        ) -> Any: ...
        async def scalar(self, *args: Any, **kwargs: Any) -> Any: ...

        @overload
        async def scalars(
            self, statement: TypedReturnsRows[_T], params: Any = None, **kw: Any
        ) -> ScalarResult[_T]: ...
        @overload
        async def scalars(
            self, statement: Executable | str, params: Any = None, **kw: Any
        ) -> ScalarResult[Any]: ...
        async def scalars(self, *args: Any, **kwargs: Any) -> Any: ...

        @overload
        async def stream(
            self, statement: TypedReturnsRows[*_Ts], params: Any = None, **kw: Any
        ) -> AsyncResult[*_Ts]: ...
        @overload
        async def stream(
            self, statement: Executable | str, params: Any = None, **kw: Any
        ) -> AsyncResult[*tuple[Any, ...]]: ...
        async def stream(self, *args: Any, **kwargs: Any) -> Any: ...

        @overload
        async def stream_scalars(
            self, statement: TypedReturnsRows[_T], params: Any = None, **kw: Any
        ) -> AsyncScalarResult[_T]: ...
        @overload
        async def stream_scalars(
            self, statement: Executable | str, params: Any = None, **kw: Any
        ) -> AsyncScalarResult[Any]: ...
        async def stream_scalars(self, *args: Any, **kwargs: Any) -> Any: ...


class AsyncStringSession(sa_asyncio.AsyncSession):
    """An AsyncSession whose statements may be strings."""

    if TYPE_CHECKING:

        @overload
        async def execute(
            self, statement: TypedReturnsRows[*_Ts], params: Any = None, **kw: Any
        ) -> Result[*_Ts]: ...
        @overload
        async def execute(
            self, statement: Executable | str, params: Any = None, **kw: Any
        ) -> Result[*tuple[Any, ...]]: ...
        async def execute(self, *args: Any, **kwargs: Any) -> Any: ...

        # mypy 2.4 takes what accepts Never for an overlap with everything
        @overload  # type: ignore[override]
        async def scalar(
            self, statement: TypedReturnsRows[Never], params: Any = None, **kw: Any
        ) -> Any | None: ...
        @overload
        async def scalar(
            self, statement: TypedReturnsRows[_T], params: Any = None, **kw: Any
        ) -> _T | None: ...
        @overload
        async def scalar(
            self, statement: Executable | str, params: Any = None, **kw: Any
        ) -> Any: ...
        async def scalar(self, *args: Any, **kwargs: Any) -> Any: ...

        @overload
        async def scalars(
            self, statement: TypedReturnsRows[_T], params: Any = None, **kw: Any
        ) -> ScalarResult[_T]: ...
        @overload
        async def scalars(
            self, statement: Executable | str, params: Any = None, **kw: Any
        ) -> ScalarResult[Any]: ...
        async def scalars(self, *args: Any, **kwargs: Any) -> Any: ...

        @overload
        async def stream(
            self, statement: TypedReturnsRows[*_Ts], params: Any = None, **kw: Any
        ) -> AsyncResult[*_Ts]: ...
        @overload
        async def stream(
            self, statement: Executable | str, params: Any = None, **kw: Any
        ) -> AsyncResult[*tuple[Any, ...]]: ...
        async def stream(self, *args: Any, **kwargs: Any) -> Any: ...

        @overload
        async def stream_scalars(
            self, statement: TypedReturnsRows[_T], params: Any = None, **kw: Any
        ) -> AsyncScalarResult[_T]: ...
        @overload
        async def stream_scalars(
            self, statement: Executable | str, params: Any = None, **kw: Any
        ) -> AsyncScalarResult[Any]: ...
        async def stream_scalars(self, *args: Any, **kwargs: Any) -> Any: ...
