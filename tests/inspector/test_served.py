"""The page on the servers of both worlds: what it sends, to whom, and what it never does."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import threading
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest
from sqlalchemy import select

from hermetic import Database, InvalidOption
from hermetic.inspector import asgi, wsgi
from hermetic.inspector.access import Access, Request, is_local_host
from hermetic.inspector.mounted import asgi_of, wsgi_of
from hermetic.inspector.serving import Page
from hermetic.inspector.sources import OwnProcess
from tests.inspector.conftest import Serve
from tests.inspector.serving import Answer, ask
from tests.models import Base, User
from tests.worlds import PATIENCE

TOKEN = "a-token-of-more-than-sixteen"


def live(answer: Answer) -> Any:
    assert answer.status == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    return json.loads(answer.body)


def test_the_page_and_what_it_needs_come_from_the_package(serve: Serve, db: Database) -> None:
    with serve(db) as url:
        page = ask(url)
        assert page.status == 200
        named = re.findall(r'(?:src|href)="([^"#:]+)"', page.text)
        assert set(named) == {"style.css", "app.js"}
        wanted = list(named)
        seen: set[str] = set()
        while wanted:
            name = wanted.pop()
            if name in seen:
                continue
            seen.add(name)
            found = ask(url, f"/{name}")
            assert found.status == 200, name
            assert found.headers["x-content-type-options"] == "nosniff"
            wanted += re.findall(r'from "\./([^"]+)"', found.text)
        assert {"grid.js", "charts.js", "scope.js"} <= seen
        assert ask(url, f"/{name}", If_None_Match=found.headers["etag"]).status == 304


def test_nothing_in_the_page_is_loaded_from_elsewhere_or_run_inline(
    serve: Serve, db: Database
) -> None:
    with serve(db) as url:
        page = ask(url)
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert not re.search(
        r"<script(?![^>]*\bsrc=)|\bon\w+=|\bstyle=|https?://(?!www\.w3\.org/2000/svg)", page.text
    )


def test_it_is_mounted_below_any_path(serve: Serve, db: Database) -> None:
    with serve(db, mount="/admin/inspector") as url:
        moved = ask(url, "")
        assert moved.status in (303, 307)
        assert moved.headers["location"].endswith("/admin/inspector/")
        assert ask(url, "/").status == ask(url, "/app.js").status == 200
        assert list(live(ask(url, "/api/live"))["states"]) == ["own"]


@pytest.mark.parametrize(
    "path",
    ["/nothing", "/api/nothing", "/../serving.py", "/%2e%2e/serving.py", "/login.html"],
)
def test_there_is_nothing_else(serve: Serve, db: Database, path: str) -> None:
    with serve(db) as url:
        assert ask(url, path).status == 404
        assert ask(url, "/api/live", method="DELETE").status == 405


def test_what_is_open_is_sent_small_where_that_is_understood(serve: Serve, db: Database) -> None:
    with serve(db) as url, db.session(name="seen") as session:
        session.execute("SELECT 'a secret', :parameter", {"parameter": "another secret"})
        plain = ask(url, "/api/live")
        small = ask(url, "/api/live", Accept_Encoding="gzip")

    (database,) = live(plain)["states"]["own"]["databases"]
    assert [scope["name"] for scope in database["scopes"]] == ["seen"]
    assert b"secret" not in plain.body
    assert small.headers["content-encoding"] == "gzip"
    assert len(small.body) < len(plain.body)
    told = json.loads(gzip.decompress(small.body))
    assert told["states"]["own"]["databases"][0]["name"] == "shop"


def test_a_scope_is_asked_for_by_its_number(serve: Serve, db: Database) -> None:
    with db.session(name="over"):
        pass
    number = db.watch.recent()[0].number
    with serve(db) as url:
        found = ask(url, f"/api/scope?process=own&database=shop&number={number}")
        assert live(found)["name"] == "over"
        assert ask(url, "/api/scope?process=own&database=shop&number=1000000000").status == 404
        for wrong in ("", "x", "-1", "1e3", "9" * 5000, "%C2%B2"):
            asked = ask(url, f"/api/scope?process=own&database=shop&number={wrong}")
            assert asked.status == 400, wrong
        history = live(ask(url, "/api/history"))["own"]["shop"]
        assert [each["name"] for each in history["recent"]] == ["over"]


def test_source_is_shown_of_findings_alone_and_without_secrets(serve: Serve, db: Database) -> None:
    Base.metadata.create_all(db.engine)
    with db.session() as session:
        for _ in range(5):
            # postgresql://ann:hunter2@localhost is nobody's
            session.execute(select(User.id).where(User.username == "x"))
            token = "hunter3"
    assert token
    (finding,) = db.watch.findings()
    with serve(db) as url:
        state = live(ask(url, "/api/live"))["states"]["own"]
        (told,) = state["databases"][0]["findings"]
        named = f"process=own&database=shop&number={told['id']}"
        lines = live(ask(url, f"/api/source?{named}"))
        assert ask(url, f"/api/source?process=own&database=shop&number={__file__}").status == 404
    meant = [line for line in lines if line["meant"]]
    assert len(meant) == 1
    assert "session.execute(select" in meant[0]["text"]
    assert finding.place.startswith(__file__)
    shown = json.dumps(lines)
    assert "ann:***@localhost" in shown
    assert "hunter" not in shown


# ---------------------------------------------------------------- who is let in


def test_with_a_token_nobody_comes_in_without_it(serve: Serve, db: Database) -> None:
    with serve(db, token=TOKEN) as url:
        assert ask(url, "/api/live").status == 401
        assert ask(url, "/app.js").status == 401
        assert ask(url, "/api/live", Authorization=f"Bearer {TOKEN}").status == 200
        assert ask(url, "/api/live", Authorization=f"Bearer {TOKEN}x").status == 401
        assert ask(url, f"/api/live?token={TOKEN}").status == 401, "an address is written down"
        form = ask(url)
        assert form.status == 401
        assert 'type="password"' in form.text
        assert ask(url, "/style.css").status == 200, "the form looks as the page does"


def test_the_form_gives_a_cookie_that_lets_in(serve: Serve, db: Database) -> None:
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    with serve(db, token=TOKEN, mount="/inspector") as url:
        wrong = ask(url, "/login", method="POST", body="token=wrong", **form)
        assert wrong.status == 401
        assert "set-cookie" not in wrong.headers
        right = ask(url, "/login", method="POST", body=f"token={TOKEN}", **form)
        assert (right.status, right.headers["location"]) == (303, "/inspector/")
        cookie, *rest = right.headers["set-cookie"].split("; ")
        assert {"Path=/inspector/", "HttpOnly", "SameSite=Strict"} <= set(rest)
        assert TOKEN not in cookie
        assert ask(url, "/api/live", Cookie=cookie).status == 200
        assert ask(url, "/api/live", Cookie=f"{cookie[:-1]}").status == 401
        assert ask(url, "/api/live", Cookie="\x7f=;;=").status == 401
        others = 'theme=dark; prefs={"a": [1, 2]}; @=ü; '.encode().decode("latin-1")
        assert ask(url, "/api/live", Cookie=f"{others}{cookie}; b[0]=1").status == 200
        crossed = ask(
            url, "/login", method="POST", body=f"token={TOKEN}", Sec_Fetch_Site="cross-site", **form
        )
        assert crossed.status == 401, "nobody is let in by a page of somebody else's"


def test_a_code_lets_in_once() -> None:
    access = Access(TOKEN)
    page = Page(OwnProcess((), literals=False), access)
    code = access.code()
    first = page(Request("GET", "/", query={"code": code}))
    assert first.status == 303
    cookie = first.headers["set-cookie"].partition(";")[0]
    assert page(Request("GET", "/", query={"code": code})).status == 401
    again = page(Request("GET", "/", query={"code": code}, headers={"cookie": cookie}))
    assert (again.status, again.headers["location"]) == (303, "/")
    assert page(Request("GET", "/", headers={"cookie": cookie})).status == 200


def test_a_cookie_of_https_stays_there() -> None:
    request = Request("GET", "/", secure=True)
    assert "Secure" in Access(TOKEN).cookie_for(request)


@pytest.mark.parametrize("token", ["short", "", "x" * 15, "x" * 501, "a token\nof two lines"])
def test_a_token_that_could_be_guessed_is_refused(db: Database, token: str) -> None:
    for make in (asgi, wsgi):
        if token:
            with pytest.raises(InvalidOption) as refused:
                make(db, token=token)
            assert token not in str(refused.value)


def test_the_environment_has_a_token_for_all(
    serve: Serve, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HERMETIC_INSPECTOR_TOKEN", TOKEN)
    with serve(db) as url:
        assert ask(url).status == 401
        assert ask(url, Authorization=f"Bearer {TOKEN}").status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "shop.example"},
        {"Host": "127.0.0.1.shop.example"},
        {"Host": "localhost.shop.example:80"},
        {"Host": ""},
        {"X_Forwarded_For": "192.0.2.1"},
        {"Forwarded": "for=192.0.2.1"},
        {"Via": "1.1 proxy"},
    ],
    ids=str,
)
def test_without_a_token_this_machine_alone_comes_in(
    serve: Serve, db: Database, headers: dict[str, str]
) -> None:
    with serve(db) as url:
        for path in ("/", "/api/live", "/app.js"):
            refused = ask(url, path, **headers)
            assert refused.status in (400, 403), path


def test_somebody_elses_page_reads_nothing(serve: Serve, db: Database) -> None:
    with serve(db) as url:
        for path in ("/api/live", "/api/history", "/api/scope", "/api/source"):
            assert ask(url, path, Sec_Fetch_Site="cross-site").status == 403
            assert ask(url, path, Origin="http://shop.example").status == 403
        own = ask(url, "/api/live", Sec_Fetch_Site="same-origin")
        assert own.status == 200
        assert "access-control-allow-origin" not in own.headers


@pytest.mark.parametrize(
    "peer", ["192.0.2.1", "10.0.0.1", "::ffff:192.0.2.1", "", None, "localhost"]
)
def test_other_machines_do_not_come_in_without_a_token(db: Database, peer: str | None) -> None:
    page = Page(OwnProcess((db,), literals=False), Access())
    host = {"host": "localhost"}
    assert page(Request("GET", "/", headers=host, peer=peer)).status == 403
    for own in ("127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"):
        assert page(Request("GET", "/", headers=host, peer=own)).status == 200


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True),
        ("LOCALHOST:8000", True),
        ("app.localhost:8000", True),
        ("127.0.0.1:80", True),
        ("[::1]:80", True),
        ("[::1]", True),
        ("localhost.", True),
        ("shop.example", False),
        ("127.0.0.1.nip.example", False),
        ("2130706433", False),
        ("0.0.0.0:80", False),
        ("[::]:80", False),
        ("", False),
        ("localhost@shop.example", False),
    ],
)
def test_which_names_mean_this_machine(host: str, local: bool) -> None:
    assert is_local_host(host) is local


# ---------------------------------------------------------------- doing something


def test_it_only_looks(serve: Serve, db: Database) -> None:
    with serve(db) as url:
        assert live(ask(url, "/api/live"))["actions"] == []
        asked = ask(
            url, "/api/act?process=own&database=shop&action=evict", method="POST", X_Hermetic="act"
        )
        assert asked.status == 403


def test_connections_are_replaced_where_that_is_allowed(serve: Serve, db: Database) -> None:
    with db.session(readonly=True) as session:
        session.execute("SELECT 1")
    before = [each.number for each in db.snapshot().connections]
    assert before
    act = "/api/act?process=own&database=shop&action=evict"
    with serve(db, allow_actions=True) as url:
        assert ask(url, act, method="POST").status == 403, "a form of another site sends no header"
        assert ask(url, act, X_Hermetic="act").status == 405
        crossed = ask(url, act, method="POST", X_Hermetic="act", Sec_Fetch_Site="cross-site")
        assert crossed.status == 403
        for wrong in ("close", "registry", "__init__", ""):
            path = f"/api/act?process=own&database=shop&action={wrong}"
            assert ask(url, path, method="POST", X_Hermetic="act").status == 404, wrong
        assert [each.number for each in db.snapshot().connections] == before
        assert ask(url, act, method="POST", X_Hermetic="act").status == 200
    with db.session(readonly=True) as session:
        session.execute("SELECT 1")
    assert not set(before) & {each.number for each in db.snapshot().connections}


# ---------------------------------------------------------------- in its world


async def test_the_loop_goes_on_while_a_state_is_made(tmp_path: Path) -> None:
    loops, made = threading.get_ident(), []

    class Noting(OwnProcess):
        def live(self) -> Any:
            made.append(threading.get_ident())
            return super().live()

    async with Database(f"sqlite:///{tmp_path}/own.db", name="own") as own:
        app = asgi_of(Page(Noting((own,), literals=False), Access()))
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request"}

        async def send(message: Any) -> None:
            sent.append(message)

        await app(_asked("/api/live"), receive, send)
        assert sent[0]["status"] == 200
        with pytest.raises(ValueError, match="does not speak"):
            await app({"type": "nothing"}, receive, send)
    assert made
    assert loops not in made
    assert asyncio.get_running_loop().is_running()


async def test_it_is_seen_while_the_programs_own_threads_are_all_busy(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    over = threading.Event()
    # a loop's own executor has 32 threads at most
    busy = [loop.run_in_executor(None, over.wait, PATIENCE) for _ in range(40)]
    try:
        async with Database(f"sqlite:///{tmp_path}/own.db", name="own") as own:
            app = asgi(own)
            sent: list[Any] = []

            async def receive() -> Any:
                return {"type": "http.request"}

            async def send(message: Any) -> None:
                sent.append(message)

            async with asyncio.timeout(PATIENCE / 2):
                await app(_asked("/api/live"), receive, send)
            assert sent[0]["status"] == 200
    finally:
        over.set()
        await asyncio.gather(*busy)


def _asked(path: str) -> dict[str, Any]:
    return {
        "type": "http",
        "method": "GET",
        "path": path,
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 1),
    }


def test_a_page_touches_no_connection(serve: Serve, db: Database) -> None:
    with serve(db) as url:
        for path in ("/", "/api/live", "/api/history"):
            assert ask(url, path).status == 200
    assert db.snapshot().connections == ()


def test_wsgi_of_is_wsgi(db: Database) -> None:
    environ: dict[str, Any] = {"REMOTE_ADDR": "127.0.0.1", "QUERY_STRING": ""}
    setup_testing_defaults(environ)
    environ["HTTP_HOST"] = "localhost"
    told: list[str] = []

    def start_response(status: str, headers: Any, error: Any = None) -> Any:
        told.append(status)
        return lambda _: None

    app: Any = validator(wsgi_of(Page(OwnProcess((db,), literals=False), Access())))
    answer = app(environ, start_response)
    assert b"<!doctype html>" in b"".join(answer)
    answer.close()
    assert told == ["200 OK"]


class Body:
    """Writes down how much of it was read."""

    def __init__(self) -> None:
        self.read_bytes: list[int] = []

    def read(self, size: int = -1) -> bytes:
        self.read_bytes.append(size)
        return b"token=wrong"


@pytest.mark.parametrize(
    ("length", "read"),
    [("11", [11]), ("4097", []), ("00000400000000", []), ("²", []), ("-1", []), ("", [])],
)
def test_no_more_than_a_token_is_read_before_it_is_known(
    db: Database, length: str, read: list[int]
) -> None:
    body = Body()
    environ: dict[str, Any] = {"REQUEST_METHOD": "POST", "PATH_INFO": "/login"}
    setup_testing_defaults(environ)
    environ |= {"CONTENT_LENGTH": length, "wsgi.input": body}
    told: list[str] = []

    list(wsgi(db, token=TOKEN)(environ, lambda status, headers: told.append(status)))

    assert told == ["401 Unauthorized"]
    assert body.read_bytes == read
