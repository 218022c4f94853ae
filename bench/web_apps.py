"""The applications that bench/web.py compares: the same two endpoints, in several ways.

GET  /users/{id}     one row by its key
POST /users/{name}   one row more
"""

# FastAPI reads annotations when an endpoint is made: they cannot be put off here.

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any, Final

from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncSession as PlainAsyncSession
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker
from sqlalchemy.orm import Session as PlainSession

POOL: Final = 10


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)


# ---------------------------------------------------------------- FastAPI


def _async_endpoints(app: Any, session: Any) -> Any:
    @app.get("/users/{key}")
    async def read(key: int, session: Annotated[Any, session]) -> dict[str, Any]:
        user = await session.get(User, key)
        return {"id": user.id, "name": user.name}

    @app.post("/users/{name}")
    async def create(name: str, session: Annotated[Any, session]) -> dict[str, Any]:
        session.add(User(name=name))
        return {"name": name}

    return app


def _sync_endpoints(app: Any, session: Any) -> Any:
    @app.get("/users/{key}")
    def read(key: int, session: Annotated[Any, session]) -> dict[str, Any]:
        user = session.get(User, key)
        return {"id": user.id, "name": user.name}

    @app.post("/users/{name}")
    def create(name: str, session: Annotated[Any, session]) -> dict[str, Any]:
        session.add(User(name=name))
        return {"name": name}

    return app


def hermetic_async(url: str) -> Any:
    from fastapi import Depends, FastAPI

    from hermetic import Database
    from hermetic.integrations.fastapi import Sessions

    sessions = Sessions(Database(url, pool_size=POOL))
    app = FastAPI()
    sessions.install(app)
    return _async_endpoints(app, Depends(sessions.asession))


def hermetic_threads(url: str) -> Any:
    from fastapi import Depends, FastAPI

    from hermetic import Database
    from hermetic.integrations.fastapi import Sessions

    sessions = Sessions(Database(url, pool_size=POOL))
    app = FastAPI()
    sessions.install(app)
    return _sync_endpoints(app, Depends(sessions.session))


def yield_async(url: str) -> Any:
    """The dependency of FastAPI's documentation."""
    from fastapi import Depends, FastAPI

    engine = create_async_engine(url, pool_size=POOL, max_overflow=0)
    make = async_sessionmaker(engine, expire_on_commit=False)

    async def get_session() -> AsyncIterator[PlainAsyncSession]:
        async with make() as session:
            yield session
            await session.commit()

    return _async_endpoints(FastAPI(), Depends(get_session))


def yield_threads(url: str) -> Any:
    from fastapi import Depends, FastAPI

    engine = create_engine(url, pool_size=POOL, max_overflow=0)
    make = sessionmaker(engine, expire_on_commit=False)

    def get_session() -> Iterator[PlainSession]:
        with make() as session:
            yield session
            session.commit()

    return _sync_endpoints(FastAPI(), Depends(get_session))


def advanced_alchemy(url: str) -> Any:
    """advanced-alchemy's extension for FastAPI, with its commit by status."""
    from advanced_alchemy.extensions.fastapi import (
        AdvancedAlchemy,
        AsyncSessionConfig,
        EngineConfig,
        SQLAlchemyAsyncConfig,
    )
    from fastapi import Depends, FastAPI

    config = SQLAlchemyAsyncConfig(
        connection_string=url,
        commit_mode="autocommit",
        session_config=AsyncSessionConfig(expire_on_commit=False),
        engine_config=EngineConfig(pool_size=POOL, max_overflow=0),
    )
    app = FastAPI()
    extension = AdvancedAlchemy(config=config, app=app)
    return _async_endpoints(app, Depends(extension.provide_session()))


# ---------------------------------------------------------------- Flask


def hermetic_flask(url: str) -> Any:
    from flask import Flask

    from hermetic.integrations.flask import Hermetic

    db = Hermetic(base=Base)
    app = Flask("hermetic")
    app.config["HERMETIC_URL"] = url
    app.config["HERMETIC_OPTIONS"] = {"pool_size": POOL}
    db.init_app(app)

    @app.get("/users/<int:key>")
    def read(key: int) -> dict[str, Any]:
        user = db.current.get_one(User, key)
        return {"id": user.id, "name": user.name}

    @app.post("/users/<name>")
    def create(name: str) -> dict[str, Any]:
        db.current.add(User(name=name))
        return {"name": name}

    return app


def flask_sqlalchemy(url: str) -> Any:
    """Flask-SQLAlchemy, whose views commit."""
    from flask import Flask
    from flask_sqlalchemy import SQLAlchemy

    db = SQLAlchemy(engine_options={"pool_size": POOL, "max_overflow": 0})
    app = Flask("flask_sqlalchemy")
    app.config["SQLALCHEMY_DATABASE_URI"] = url
    db.init_app(app)

    @app.get("/users/<int:key>")
    def read(key: int) -> dict[str, Any]:
        user = db.session.get_one(User, key)
        return {"id": user.id, "name": user.name}

    @app.post("/users/<name>")
    def create(name: str) -> dict[str, Any]:
        db.session.add(User(name=name))
        db.session.commit()
        return {"name": name}

    return app


# by name: how an application is made, for which driver, and whether it is one of WSGI
APPS: Final[dict[str, tuple[Callable[[str], Any], str, bool]]] = {
    "FastAPI async, hermetic": (hermetic_async, "asyncpg", False),
    "FastAPI async, yield": (yield_async, "asyncpg", False),
    "FastAPI async, advanced-alchemy": (advanced_alchemy, "asyncpg", False),
    "FastAPI threads, hermetic": (hermetic_threads, "psycopg", False),
    "FastAPI threads, yield": (yield_threads, "psycopg", False),
    "Flask, hermetic": (hermetic_flask, "psycopg", True),
    "Flask, Flask-SQLAlchemy": (flask_sqlalchemy, "psycopg", True),
}
