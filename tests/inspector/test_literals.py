"""What is written into a statement as a value is hidden where the statement is shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermetic.inspector.literals import without_literals

SHOWN = [
    ("SELECT a FROM t WHERE b = :b", "SELECT a FROM t WHERE b = :b"),
    ("SELECT 'secret'", "SELECT '…'"),
    ("SELECT 'it''s secret', a", "SELECT '…', a"),
    ("SELECT E'secret', $$secret$$, $x$secret 'it' $x$", "SELECT E'…', '…', '…'"),
    ("SELECT \"a name\", 'secret'", "SELECT \"a name\", '…'"),
    ("-- don't\nSELECT 'secret'", "-- don't\nSELECT '…'"),
    ("/* don't */ SELECT 'secret'", "/* don't */ SELECT '…'"),
    ("SELECT 'secret that was cut o", "SELECT '…'"),
    ("SELECT $1, $2", "SELECT $1, $2"),
    ("SELECT $é$it's $a$ secret$é$, 'secret'", "SELECT '…', '…'"),
    ("SELECT /* /* x */ it's */ 'secret'", "SELECT /* /* x */ it'…'"),
]


@pytest.mark.parametrize(("statement", "shown"), SHOWN)
def test_strings_are_hidden_and_names_are_not(statement: str, shown: str) -> None:
    assert without_literals(statement, double_quoted=False) == shown


def test_strings_in_double_quotes_are_hidden_where_there_are_such() -> None:
    statement = "SELECT \"secret\", `a name`, 'secret' # don't\n, 'secret' /*! , 'secret' */"
    statement += " /*M! , 'secret' */"
    shown = "SELECT '…', `a name`, '…' # don't\n, '…' /*! , '…' */ /*M! , '…' */"
    assert without_literals(statement, double_quoted=True) == shown


def test_where_a_string_ends_at_one_of_two_places_all_is_hidden() -> None:
    statement = r"SELECT 'a\', 'secret' FROM t"
    for double_quoted in (True, False):
        assert "secret" not in without_literals(statement, double_quoted=double_quoted)


@given(value=st.text(max_size=20), before=st.text("ab ,()=", max_size=5), double=st.booleans())
def test_no_value_is_seen(value: str, before: str, double: bool) -> None:
    """Not even one that was quoted well, and has quotes, comments or backslashes inside."""
    secret = f"S3CRET{value}S3CRET"
    quoted = secret.replace("\\", "\\\\").replace("'", "''")
    shown = without_literals(f"SELECT {before} '{quoted}', x", double_quoted=double)
    assert "S3CRET" not in shown
