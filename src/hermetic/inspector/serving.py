"""The page and what it asks for: one function from a request to a response, for every server."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs

from ..errors import ConfigurationError
from .access import Access, Request, comes_from_elsewhere
from .sources import ACTIONS, Shared, Source, lines_of

# seconds for which one state is given to whoever asks
_LIVE, _ENDED = 0.3, 2.0
# bytes from which an answer is sent smaller
_SMALL = 1000
LONGEST_BODY = 4096

_SECURED = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


@dataclass(frozen=True, slots=True)
class Response:
    """What is answered."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    def as_list(self) -> list[tuple[str, str]]:
        """Every header, those that secure the page too."""
        length = {"content-length": str(len(self.body))}
        return list({**_SECURED, **length, **self.headers}.items())


class Page:
    """Answers requests. It may be called in any thread, and never waits.

    :param source: where the states come from.
    :param access: who is let in.
    :param allow_actions: whether connections may be replaced and lending be suspended from the
        page.
    """

    def __init__(self, source: Source, access: Access, *, allow_actions: bool = False) -> None:
        self._source = source
        self._access = access
        self._actions = ACTIONS if allow_actions else ()
        self._assets = _assets()
        self._live = Shared(lambda: _json(self._now()), _LIVE)
        self._history = Shared(lambda: _json(source.history()), _ENDED)
        self._answers: dict[str, Callable[[Request], Response]] = {
            "/api/live": lambda request: _sent(request, self._live()),
            "/api/history": lambda request: _sent(request, self._history()),
            "/api/scope": self._scope,
            "/api/source": self._lines,
        }

    def __call__(self, request: Request) -> Response:
        """Answer one request."""
        if request.path == "":
            return _moved(f"{request.mount}/")
        refused = self._let_in(request)
        if refused is not None:
            return refused
        if request.path == "/api/act":
            return self._act(request)
        if request.method not in ("GET", "HEAD"):
            return _said(405, "Only GET.", allow="GET, HEAD")
        answer = self._answers.get(request.path)
        if answer is not None:
            if comes_from_elsewhere(request):
                return _said(403, "Another site has asked.")
            return answer(request)
        return self._asset(request)

    # ------------------------------------------------------------ who is let in

    def _let_in(self, request: Request) -> Response | None:
        access = self._access
        if not access.has_token:
            why = access.refusal(request)
            if why is None:
                return None
            return _said(403, f"{why} Give it one: asgi(db, token=…), or wsgi(db, token=…).")
        if access.is_known(request):
            # somebody may follow the link a second time
            return _moved(f"{request.mount}/") if "code" in request.query else None
        if access.is_code(request.query.get("code", "")):
            return _moved(f"{request.mount}/", {"set-cookie": access.cookie_for(request)})
        if request.path == "/login" and request.method == "POST":
            return self._login(request)
        if request.path in ("/", "/login"):
            return self._page(request, "login.html", 401)
        if request.path in ("/style.css", "/login.css"):
            return None
        return _said(401, "The token is missing.", **{"www-authenticate": "Bearer"})

    def _login(self, request: Request) -> Response:
        given = parse_qs(request.body.decode("utf-8", "replace")).get("token", [""])[0]
        if comes_from_elsewhere(request) or not self._access.is_token(given.strip()):
            return self._page(request, "wrong.html", 401)
        return _moved(f"{request.mount}/", {"set-cookie": self._access.cookie_for(request)})

    # ------------------------------------------------------------ what is asked

    def _now(self) -> dict[str, Any]:
        states = self._source.live()
        problems = self._source.problems()
        return {"states": states, "problems": problems, "actions": list(self._actions)}

    def _scope(self, request: Request) -> Response:
        process, database, number = _named(request)
        # more digits than any number of a scope has take long to read
        if not number.isascii() or not number.isdigit() or len(number) > 18:
            return _said(400, "Its number is missing.")
        found = self._source.scope(process, database, int(number))
        if found is None:
            return _said(404, "Nobody knows this scope any more.")
        return _sent(request, _json(found))

    def _lines(self, request: Request) -> Response:
        # of files that findings name, and no others
        found = self._source.finding(*_named(request))
        if found is None:
            return _said(404, "There is no such finding.")
        return _sent(request, _json(lines_of(found)))

    def _act(self, request: Request) -> Response:
        if not self._actions:
            return _said(403, "This page only looks: give allow_actions=True.")
        if request.method != "POST":
            return _said(405, "Only POST.", allow="POST")
        # no form of another site can send this header
        if comes_from_elsewhere(request) or "x-hermetic" not in request.headers:
            return _said(403, "Another site has asked.")
        process, database, _ = _named(request)
        done = self._source.act(process, database, request.query.get("action", ""))
        return _said(200, "Done.") if done else _said(404, "There is nothing to do that to.")

    # ------------------------------------------------------------ the files of the page

    def _asset(self, request: Request) -> Response:
        name = "index.html" if request.path == "/" else request.path[1:]
        if name not in self._assets or (name.endswith(".html") and request.path != "/"):
            return _said(404, "There is nothing here.")
        return self._page(request, name, 200)

    def _page(self, request: Request, name: str, status: int) -> Response:
        kind, body, tag = self._assets[name]
        if status == 200 and request.headers.get("if-none-match") == tag:
            return Response(304, b"", {"etag": tag, "cache-control": "no-cache"})
        headers = {"content-type": kind, "cache-control": "no-cache"}
        if status == 200:
            headers["etag"] = tag
        return Response(status, body, headers)


def _assets() -> dict[str, tuple[str, bytes, str]]:
    """The files of the page by their names: their types, bytes and tags."""
    found = {}
    for each in files(__package__).joinpath("page").iterdir():
        kind = _KINDS.get(each.name.rpartition(".")[2])
        if kind is not None:
            body = each.read_bytes()
            tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
            found[each.name] = (f"{kind}; charset=utf-8", body, tag)
    if "index.html" not in found:
        raise ConfigurationError("The inspector's page is missing.", hint="Install hermetic again.")
    return found


# not by what the machine believes of them
_KINDS = {"css": "text/css", "html": "text/html", "js": "text/javascript"}


def _named(request: Request) -> tuple[str, str, str]:
    query = request.query
    return query.get("process", ""), query.get("database", ""), query.get("number", "")


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _sent(request: Request, body: bytes) -> Response:
    headers = {
        "content-type": "application/json",
        "cache-control": "no-store",
        "vary": "accept-encoding",
    }
    if len(body) > _SMALL and "gzip" in request.headers.get("accept-encoding", ""):
        headers["content-encoding"] = "gzip"
        body = gzip.compress(body, 1)
    return Response(200, body, headers)


def _said(status: int, text: str, **headers: str) -> Response:
    kind = {"content-type": "text/plain; charset=utf-8", "cache-control": "no-store"}
    return Response(status, f"{text}\n".encode(), {**kind, **headers})


def _moved(location: str, headers: dict[str, str] | None = None) -> Response:
    told = {"location": location, "cache-control": "no-store", **(headers or {})}
    return Response(303, b"", told)
