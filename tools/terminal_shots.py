"""Draws the pictures of docs/terminal.md: frames of `hermetic top`, looking at workers at work.

    python -m tools.terminal_shots

Three processes of one service work on a SQLite file, as a shop would; what they say is drawn as it
is drawn in a terminal of 100 columns.
"""

from __future__ import annotations

import io
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Final

from rich.console import Console
from sqlalchemy import ForeignKey, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from hermetic import Database, Watch
from hermetic.terminal.frame import frame
from hermetic.terminal.gathering import Nearby
from hermetic.terminal.pages import PAGES
from hermetic.terminal.view import View

DOCS: Final = Path(__file__).parents[1] / "docs"
WORKERS, WIDTH, HEIGHT = 3, 100, 24
# seconds of work before it is looked at
SECONDS = 12.0
# fonts that a browser would ask another host for
_FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


class Base(DeclarativeBase):
    pass


class Customer(Base):
    __tablename__ = "customers"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    orders: Mapped[list[Order]] = relationship(back_populates="customer")


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    item: Mapped[str]
    customer_id: Mapped[int] = mapped_column(ForeignKey("customers.id"))
    customer: Mapped[Customer] = relationship(back_populates="orders")


# what the workers do


def show_customers(db: Database, chance: random.Random) -> None:
    """A page that loads each customer's orders one after the other."""
    with db.session(name="list customers", readonly=True) as session:
        for customer in session.scalars(select(Customer).limit(15)):
            time.sleep(chance.uniform(0.0, 0.02))
            len(customer.orders)


def show_order(db: Database, chance: random.Random) -> None:
    with db.session(name="show order", readonly=True) as session:
        session.get(Order, chance.randrange(1, 200))
        time.sleep(chance.uniform(0.0, 0.3))


def place_order(db: Database, chance: random.Random) -> None:
    with db.session(name="place order") as session:
        session.add(Order(item="tea", customer_id=chance.randrange(1, 20)))
        session.flush()
        time.sleep(chance.uniform(0.0, 0.15))


def call_the_bank(db: Database, chance: random.Random) -> None:
    """A scope that waits for somebody else with a connection in its hand."""
    with db.session(name="charge card", readonly=True) as session:
        session.get(Order, 1)
        time.sleep(chance.uniform(1.0, 3.0))


WAYS: Final = (show_customers, show_order, show_order, place_order, place_order, call_the_bank)


def work(url: str, seed: int) -> None:
    """Work until somebody ends it, or for two minutes."""
    db = Database(url, name="shop", watch=Watch(service="shop", held=1.5))

    def run(way: int) -> None:
        chance = random.Random(f"{seed} {way}")
        while True:
            WAYS[way](db, chance)

    for number, way in enumerate(WAYS):
        threading.Thread(target=run, args=(number,), name=way.__name__, daemon=True).start()
    time.sleep(120)


# and how it is drawn


def picture(view: View, title: str) -> str:
    console = Console(
        file=io.StringIO(), record=True, width=WIDTH, height=HEIGHT, color_system="truecolor"
    )
    console.print(frame(view, WIDTH, HEIGHT))
    drawn = console.export_svg(title=title, unique_id=title.replace(" ", "-"))
    return _FONTS.sub("", drawn)


def draw(source: Nearby) -> None:
    """Every picture."""
    view = View()
    for _ in range(2):
        view.see(source.look(history=True))
        time.sleep(1.0)
    save("terminal", picture(view, "hermetic top"))
    view.number = [page.name for page in PAGES].index("findings")
    rows = view.rows()
    view.chosen = next(row["key"] for row in rows if row["code"] == "repeated-statement")
    view.press("enter")
    save("terminal-finding", picture(view, "hermetic top finding"))


def save(name: str, drawn: str) -> None:
    # the machine that it was drawn on is nobody's business
    root = str(Path(__file__).parents[1])
    path = DOCS / f"{name}.svg"
    path.write_text(drawn.replace(root, "/srv/shop").rstrip() + "\n", encoding="utf-8")
    sys.stdout.write(f"{path.name}\n")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="shop-") as folder:
        url = f"sqlite:///{Path(folder) / 'shop.db'}"
        with Database(url) as db:
            Base.metadata.create_all(db.engine)
            with db.session() as session:
                session.add_all(Customer(name=f"customer {number}") for number in range(20))
        program = [sys.executable, "-m", "tools.terminal_shots", url]
        env = {**os.environ, "HERMETIC_NEARBY": str(Path(folder) / "run")}
        os.environ["HERMETIC_NEARBY"] = env["HERMETIC_NEARBY"]
        workers = [
            subprocess.Popen([*program, str(seed)], env=env, stderr=subprocess.DEVNULL)
            for seed in range(WORKERS)
        ]
        try:
            time.sleep(SECONDS)
            draw(Nearby())
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()


if __name__ == "__main__":
    if sys.argv[1:]:
        work(sys.argv[1], int(sys.argv[2]))
    else:
        main()
