"""What `hermetic top` draws: fitted, sorted, and never an order to the terminal."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from hermetic import Database, Group, Watch
from hermetic.terminal.frame import frame
from hermetic.terminal.gathering import Own
from hermetic.terminal.keys import keys_of
from hermetic.terminal.pages import PAGES, Page
from hermetic.terminal.services import Look
from hermetic.terminal.view import View
from hermetic.terminal.words import bar, clean, count, place, seconds

WIDE = 160


@pytest.fixture
def db(url: str) -> Iterator[Database]:
    with Database(url, name="shop", watch=Watch(service="shop", repeats=3)) as made:
        with made.session(name="careless", readonly=True) as session:
            for _ in range(5):
                session.execute("SELECT 1")
        yield made


@pytest.fixture
def held(db: Database) -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def hold(held: ExitStack, db: Database, *names: str) -> None:
    for number, name in enumerate(names):
        session = held.enter_context(
            db.session(name=name, readonly=True, propagation="requires_new")
        )
        for _ in range(number + 1):
            session.execute("SELECT 2")


def seen(db: Database | Group, page: str = "scopes") -> View:
    """A view of what a Database does now."""
    view = View(number=[each.name for each in PAGES].index(page))
    view.see(Own(db).look(history=True))
    return view


def text(view: View, width: int = WIDE, height: int | None = 40) -> str:
    """A frame without its colours."""
    return frame(view, width, height).plain


def column(view: View, title: str) -> list[str]:
    """What the rows of a page have in it."""
    found = next(each for each in view.page.columns if each.title == title)
    return [found.cell(row, 40) for row in view.rows()]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 8), (200, 60), (10, 2)])
@pytest.mark.parametrize("page", [page.name for page in PAGES])
def test_a_frame_is_as_large_as_the_terminal(
    page: str, width: int, height: int, db: Database, held: ExitStack
) -> None:
    hold(held, db, *("a name that is longer than the column that it is in" for _ in range(9)))
    view = seen(db, page)
    views = [view, seen(db, page), seen(db, page)]
    views[1].press("?")
    views[2].press("enter")
    for each in views:
        lines = text(each, width, height).split("\n")
        assert len(lines) == max(8, height)
        assert max(map(cell_len, lines)) <= max(40, width)


def test_nothing_to_see_is_a_frame_too() -> None:
    view = View()
    view.see(Look([]))

    assert "no process yet" in text(view, 80, 24)
    assert "No scope is open." in text(view, 80, 24)


def test_an_open_scope_is_shown_with_its_owner_and_last_statement(
    db: Database, held: ExitStack
) -> None:
    hold(held, db, "order")

    shown = text(seen(db))

    (line,) = [line for line in shown.splitlines() if "order #" in line]
    assert "idle" in line
    assert "thread 'MainThread'" in line
    assert "SELECT 2" in line
    assert "shop reader" in shown
    assert "1 open" in shown
    assert "1 findings" in shown


def test_rows_are_sorted_by_any_column_and_the_other_way_round(
    db: Database, held: ExitStack
) -> None:
    hold(held, db, "b", "a", "c")
    view = seen(db)
    oldest_first = [title.split()[0] for title in column(view, "SCOPE")]
    assert oldest_first == ["b", "a", "c"]

    view.press("r")
    assert [title.split()[0] for title in column(view, "SCOPE")] == ["c", "a", "b"]
    view.press("r")
    while view.sort != "SENT":
        view.press("s")
    assert column(view, "SENT") == ["3", "2", "1"]
    assert "SENT▾" in text(view)
    while view.sort != "SCOPE":
        view.press("S")
    assert [title.split()[0] for title in column(view, "SCOPE")] == ["a", "b", "c"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_page_can_be_sorted_by_each_of_its_orders(
    page: Page, db: Database, held: ExitStack
) -> None:
    hold(held, db, "a", "b")
    view = seen(db)
    view.press(str(PAGES.index(page) + 1))
    for _ in view.page.orders:
        view.press("s")
        text(view)
    assert view.sort == view.page.first


def test_a_filter_leaves_rows_with_its_text_alone(db: Database, held: ExitStack) -> None:
    hold(held, db, "order", "page")
    view = seen(db)
    for key in ("/", "P", "x", "backspace", "a", "enter"):
        view.press(key)

    assert view.filter == "Pa"
    assert [title.split()[0] for title in column(view, "SCOPE")] == ["page"]
    assert "filter: Pa" in text(view)
    for key in ("/", "q"):
        view.press(key)
    assert "None of 2 has 'Paq'." in text(view)
    view.press("esc")
    assert (view.filter, len(view.rows())) == ("", 2)


def test_the_chosen_row_stays_chosen_where_others_come(db: Database, held: ExitStack) -> None:
    hold(held, db, "first", "second")
    view = seen(db)
    view.press("down")
    view.press("r")
    hold(held, db, "third")
    view.see(Own(db).look(history=False))

    (chosen,) = [line for line in text(view).splitlines() if line.startswith(">")]
    assert "second #" in chosen
    view.press("home")
    assert "third #" in next(line for line in text(view).splitlines() if line[0:1] == ">")


def test_more_rows_than_there_is_room_for_are_scrolled(db: Database, held: ExitStack) -> None:
    hold(held, db, *("a" for _ in range(9)))
    view = seen(db)
    view.sorts["scopes"] = "SENT"
    assert "1 to 6 of 9" in text(view, 80, 12)
    view.press("end")
    assert "4 to 9 of 9" in text(view, 80, 12)


def test_enter_shows_all_of_a_scope(db: Database, held: ExitStack) -> None:
    hold(held, db, "order", "page")
    view = seen(db)
    view.press("down")

    assert view.press("enter") == "details"
    assert "Its process was asked for more." in text(view)
    row = view.detail
    assert row is not None
    view.more = Own(db).scope(row["worker"], row["number"], row["database"])

    shown = text(view)
    assert "page #" in shown
    assert "Statements: 2" in shown
    assert shown.count("SELECT 2") == 2
    assert "Where its owner is, innermost last" in shown
    view.press("down")
    assert view.top == 1
    view.press("esc")
    assert "order #" in text(view)


def test_a_scope_that_has_ended_meanwhile_is_shown_with_its_end(db: Database) -> None:
    with db.session(name="order", readonly=True) as session:
        session.execute("SELECT 2")
        view = seen(db)
        view.press("enter")
    row = view.detail
    assert row is not None
    view.more = Own(db).scope(row["worker"], row["number"], row["database"])

    assert "COMMITTED after" in text(view)


def test_enter_shows_all_of_a_finding(db: Database) -> None:
    view = seen(db, "findings")
    assert view.press("enter") is None

    shown = text(view)

    assert "repeated-statement" in shown
    assert "Ask once for all" in shown
    assert "test_frames.py" in shown
    assert "1 times" in shown
    assert "SELECT 1" in shown


def test_the_last_hour_is_told_by_names(db: Database) -> None:
    view = seen(db, "names")

    (line,) = [line for line in text(view).splitlines() if "careless" in line]
    assert line.split()[1] == "1"


def test_two_looks_give_rates(db: Database) -> None:
    view = seen(db)
    first = view.look
    with db.session(readonly=True) as session:
        session.execute("SELECT 1")
    second = Own(db).look(history=False)
    second.at = first.at + 0.5
    view.see(second)

    assert view.rates.rates["scopes"] == 2.0
    assert "  2/s" in text(view)


def test_what_a_process_says_is_no_order_to_the_terminal(db: Database, held: ExitStack) -> None:
    session = held.enter_context(db.session(name="order", readonly=True))
    session.execute('SELECT 1 AS "\x1b]0;title\x07\u200b"')
    for page in ("scopes", "names", "findings"):
        view = seen(db, page)
        view.look.services[0].name = "\x1b[31m"
        for _ in range(2):
            drawn = text(view, 300)
            assert not {"\x1b", "\x07", "\u202e", "\u200b"} & set(drawn)
            view.press("enter")
    assert 'SELECT 1 AS "·]0;title··"' in text(seen(db), 300)


def test_without_colours_everything_is_said_in_words(db: Database, held: ExitStack) -> None:
    hold(held, db, "order")
    plain = drawn(seen(db), no_color=True)
    coloured = drawn(seen(db), no_color=False)

    assert "\x1b[3" not in plain
    assert "\x1b[3" in coloured
    assert "idle" in plain


def drawn(view: View, *, no_color: bool) -> str:
    console = Console(
        file=io.StringIO(),
        force_terminal=True,
        no_color=no_color,
        color_system="standard",
        width=80,
    )
    console.print(frame(view, 80, 24))
    written = console.file
    assert isinstance(written, io.StringIO)
    return written.getvalue()


def test_services_can_be_looked_at_one_after_the_other(db: Database) -> None:
    view = seen(db)
    seen_of = []
    for _ in range(3):
        seen_of.append(view.service)
        view.press("w")
    assert seen_of == [None, "shop", None]


def test_looks_can_be_held_and_their_pace_changed(db: Database) -> None:
    view = seen(db)
    for key in ("p", "+", "+"):
        view.press(key)
    assert (view.paused, view.every) == (True, 5.0)
    assert "held at" in text(view)
    for _ in range(9):
        view.press("-")
    view.press(" ")
    assert (view.paused, view.every) == (False, 0.2)
    assert [view.press("x"), view.press("9"), view.press("q")] == [None, None, "end"]


def test_a_scope_of_a_group_is_told_of_each_database_it_has_touched(tmp_path: Path) -> None:
    one, other = (
        Database(f"sqlite:///{tmp_path / name}", name=name, watch=Watch(service="shop"))
        for name in ("one", "other")
    )
    with Group(one=one, other=other) as group:
        with group.session(name="both") as session:
            for key in ("one", "other"):
                session.execute("SELECT 1", bind_arguments={"bind_key": key})
            view = seen(group)

        assert view.look.workers[0].open_scopes == 2
        # they may be of the same age
        assert sorted(row["database"] for row in view.rows()) == ["one", "other"]


# ---------------------------------------------------------------- words and keys


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (-1.0, "0 µs"),
        (0.00085, "850 µs"),
        (0.00123, "1.2 ms"),
        (0.0123, "12 ms"),
        (0.9996, "1.0 s"),
        (3.44, "3.4 s"),
        (34.4, "34 s"),
        (725.0, "12m05"),
        (7300.0, "2h01"),
        (400_000.0, "4d15"),
    ],
)
def test_a_length_of_time(value: float, said: str) -> None:
    assert seconds(value) == said


def test_numbers_bars_and_places() -> None:
    assert [count(n) for n in (0, 9999, 12345, 12_345_678, 2e10)] == [
        "0",
        "9999",
        "12k",
        "12M",
        "20G",
    ]
    assert [bar(n, 10, 5) for n in (0, 0.1, 5, 10, 20)] == [
        "░░░░░",
        "█░░░░",
        "██░░░",
        "█████",
        "█████",
    ]
    assert bar(1, 0, 3) == "░░░"
    assert place("/long/way/to/file.py:12 in work", 19) == "file.py:12 in work"
    assert place("/long/way/to/file.py:12 in work", 21) == "…/file.py:12 in work"
    assert place("file.py:12 in work", 30) == "file.py:12 in work"
    assert clean("a\n  b\tc") == "a b c"
    assert clean("é ü 日本") == "é ü 日本"


@pytest.mark.parametrize(
    ("sent", "keys"),
    [
        (b"q", ["q"]),
        (b"jk", ["j", "k"]),
        (b"\x1b[A\x1b[B", ["up", "down"]),
        (b"\x1b", ["esc"]),
        (b"\x1bOA\t\r\x7f", ["up", "tab", "enter", "backspace"]),
        (b"\x1b[Z\x1b[5~\x1b[6~", ["shift-tab", "page-up", "page-down"]),
        (b"\x1b[1;5Cx", ["x"]),
        (b"\x1b[", []),
        ("é/".encode(), ["é", "/"]),
        (b"\xff\x00a", ["a"]),
    ],
)
def test_keys_as_a_terminal_sends_them(sent: bytes, keys: list[str]) -> None:
    assert list(keys_of(sent)) == keys
