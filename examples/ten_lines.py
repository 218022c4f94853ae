"""The words of a text, counted in a database: ``python examples/ten_lines.py [URL] < text``."""

from sys import argv, stdin

from hermetic import Database

with Database(argv[1] if argv[1:] else "sqlite:///words.db") as db:
    with db.session(propagation="not_supported") as session:  # no transaction: a table is made
        session.execute("CREATE TABLE IF NOT EXISTS words (word VARCHAR(80))")
    with db.session() as session:
        session.execute("DELETE FROM words")
        session.execute("INSERT INTO words VALUES (:w)", [{"w": w} for w in stdin.read().split()])
        for row in session.execute("SELECT count(*), word FROM words GROUP BY word ORDER BY 1, 2"):
            print(*row)
