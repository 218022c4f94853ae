"""The inspector's page as an application of ASGI and of WSGI, for any server and any framework."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, quote

from .access import Access, Request
from .serving import LONGEST_BODY, Page, Response
from .sources import OwnProcess
from .state import Shown

# where the token is, unless it is given
VARIABLE = "HERMETIC_INSPECTOR_TOKEN"

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApplication = Callable[[Scope, Receive, Send], Awaitable[None]]
WsgiApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def asgi(
    *databases: Shown,
    token: str | None = None,
    allow_actions: bool = False,
    literals: bool = False,
) -> AsgiApplication:
    """The page as an ASGI application: ``app.mount("/inspector", asgi(db))``.

    States are made in a thread, so that the event loop goes on.

    :param databases: Databases, Groups or Shards. Default: all of this process that are open.
    :param token: 16 characters and more, which whoever looks has to show. Default:
        ``HERMETIC_INSPECTOR_TOKEN``, and without that the page is for this machine alone. Behind a
        proxy on the same machine everybody comes from this machine: give a token there.
    :param allow_actions: whether connections may be replaced (``evict``), and lending suspended and
        resumed, from the page. Default ``False``: it only looks.
    :param literals: whether strings that were written into statements are shown. Default ``False``.
    :raises InvalidOption: the token is too short.
    """
    return asgi_of(
        _page(databases, token, "asgi()", allow_actions=allow_actions, literals=literals)
    )


def asgi_of(page: Page) -> AsgiApplication:
    """A page that was made already, as an ASGI application."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "http":
            request = _asked(scope, await _body(receive))
            await _answer(request, await _in_a_thread(page, request), send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        else:
            raise ValueError(f"the inspector does not speak {scope['type']}")

    return application


def wsgi(
    *databases: Shown,
    token: str | None = None,
    allow_actions: bool = False,
    literals: bool = False,
) -> WsgiApplication:
    """The page as a WSGI application; arguments as of ``asgi``.

    :raises InvalidOption: the token is too short.
    """
    return wsgi_of(
        _page(databases, token, "wsgi()", allow_actions=allow_actions, literals=literals)
    )


def wsgi_of(page: Page) -> WsgiApplication:
    """A page that was made already, as a WSGI application."""

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        request = _asked_by_wsgi(environ)
        answered = page(request)
        reason = HTTPStatus(answered.status).phrase
        start_response(f"{answered.status} {reason}", answered.as_list())
        return [] if request.method == "HEAD" else [answered.body]

    return application


def _page(databases: tuple[Shown, ...], token: str | None, place: str, **options: bool) -> Page:
    access = Access(token or os.environ.get(VARIABLE) or None, place=place)
    source = OwnProcess(databases, literals=options["literals"])
    return Page(source, access, allow_actions=options["allow_actions"])


# ---------------------------------------------------------------- ASGI


async def _live(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _body(receive: Receive) -> bytes:
    body: bytes = b""
    while len(body) <= LONGEST_BODY:
        message = await receive()
        body += message.get("body", b"")
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return body
    return b""  # nobody has that much to say


async def _in_a_thread(page: Page, request: Request) -> Response:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return page(request)  # another library's loop
    return await loop.run_in_executor(_threads(), page, request)


# with the process that they are of: a forked child has none of its parent's threads
_made: list[tuple[int, ThreadPoolExecutor]] = []


def _threads() -> ThreadPoolExecutor:
    """Threads of the page's own: it is looked at when everybody else's are busy."""
    if not _made or _made[-1][0] != os.getpid():
        _made[:] = [(os.getpid(), ThreadPoolExecutor(2, thread_name_prefix="hermetic-inspector"))]
    return _made[-1][1]


async def _answer(request: Request, answered: Response, send: Send) -> None:
    headers = [
        (name.encode("latin-1"), value.encode("latin-1")) for name, value in answered.as_list()
    ]
    await send({"type": "http.response.start", "status": answered.status, "headers": headers})
    body = b"" if request.method == "HEAD" else answered.body
    await send({"type": "http.response.body", "body": body})


def _asked(scope: Scope, body: bytes) -> Request:
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        key = name.decode("latin-1").lower()
        told = value.decode("latin-1")
        # cookies may come in several
        headers[key] = f"{headers[key]}; {told}" if key in headers else told
    client = scope.get("client")
    mount = scope.get("root_path", "").rstrip("/")
    path = scope["path"]
    # a framework that mounts may have left the path whole, as the specification has it, or cut it
    if mount and (path == mount or path.startswith(mount + "/")):
        path = path[len(mount) :]
    return Request(
        method=scope["method"],
        path=path,
        mount=_quoted(mount),
        query=_query(scope.get("query_string", b"").decode("latin-1")),
        headers=headers,
        peer=None if client is None else client[0],
        secure=scope.get("scheme") == "https",
        body=body,
    )


# ---------------------------------------------------------------- WSGI


def _asked_by_wsgi(environ: dict[str, Any]) -> Request:
    headers = {
        key[5:].replace("_", "-").lower(): value
        for key, value in environ.items()
        if key.startswith("HTTP_")
    }
    body = b""
    length = _length(environ.get("CONTENT_LENGTH") or "0")
    if 0 < length <= LONGEST_BODY:
        body = environ["wsgi.input"].read(length)
    return Request(
        method=environ["REQUEST_METHOD"],
        path=_decoded(environ.get("PATH_INFO", "")),
        mount=_quoted(_decoded(environ.get("SCRIPT_NAME", "")).rstrip("/")),
        query=_query(environ.get("QUERY_STRING", "")),
        headers=headers,
        peer=environ.get("REMOTE_ADDR") or None,
        secure=environ.get("wsgi.url_scheme") == "https",
        body=body,
    )


def _length(text: str) -> int:
    """What a header says; 0 for what is not a number, or has more digits than any that is read."""
    return int(text) if len(text) <= 6 and text.isascii() and text.isdigit() else 0


def _decoded(text: str) -> str:
    # WSGI has bytes in the guise of Latin-1
    return text.encode("latin-1", "replace").decode("utf-8", "replace")


# ---------------------------------------------------------------- both


def _query(text: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=20))
    except ValueError:
        return {}


def _quoted(mount: str) -> str:
    # two slashes at its beginning would be another host; what is in a header has no line's end
    return quote("/" + mount.lstrip("/"), safe="/~-._") if mount else ""
