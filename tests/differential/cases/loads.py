"""Related objects, loaded when asked for and beforehand."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import (
    contains_eager,
    joinedload,
    lazyload,
    noload,
    raiseload,
    selectinload,
    subqueryload,
    with_loader_criteria,
)

from tests.differential.cases.table import by_hand, case
from tests.differential.pool import Author, Book, Member, Node, Passport, Tag, Team, Worker
from tests.differential.run import Run


@case
def lazy_many_to_one(run: Run) -> None:
    with run.scope() as session:
        members = session.scalars(select(Member).order_by(Member.id)).all()
        run.note([member.team for member in members])
        run.look(session)
        run.note(members[0].team is members[1].team)


@case
def lazy_many_to_one_that_is_in_the_identity_map(run: Run) -> None:
    with run.scope() as session:
        team = run.keep(session.get(Team, 1))
        member = run.keep(session.get(Member, 1))
        run.note(member.team is team)
        run.look(session)


@case
def lazy_many_to_one_of_what_is_expired_or_missing(run: Run) -> None:
    with run.scope() as session:
        team = run.keep(session.get(Team, 1))
        session.expire(team)
        member = run.keep(session.get(Member, 1))
        run.note(member.team is team)
        run.look(session)
        nobody = run.keep(session.get(Member, 4))
        run.note(nobody.team)
        session.expire(nobody, ["team_id"])
        run.note(nobody.team)


@case
def lazy_collections(run: Run) -> None:
    with run.scope() as session:
        for number in (1, 2, 3):
            team = run.keep(session.get(Team, number))
            run.note(team.members, team.leaves, team.elders)
            run.keep(team)
        run.look(session)


@case
def lazy_sets_of_many_to_many(run: Run) -> None:
    with run.scope() as session:
        member = run.keep(session.get(Member, 1))
        run.note(member.tags)
        run.keep(member)
        tag = session.get(Tag, 1)
        run.note(tag.members)
        run.look(session)


@case
def lazy_one_to_one(run: Run) -> None:
    with run.scope() as session:
        run.note(session.get(Member, 1).passport, session.get(Member, 2).passport)
        passport = run.keep(session.get(Passport, 1))
        with run.failing():
            run.note(passport.member)
        run.look(session)


@case
def lazy_loads_of_what_is_pending(run: Run) -> None:
    with run.scope() as session:
        member = Member(name="new", team_id=1)
        run.note(member.team)
        session.add(member)
        with session.no_autoflush:
            run.note(member.team)
        session.flush()
        run.note(member.team)
        session.expire(member, ["team"])
        run.note(member.team)
        run.look(session)


@case
def lazy_load_flushes_first(run: Run) -> None:
    with run.scope() as session:
        team = run.keep(session.get(Team, 2))
        session.add(Member(name="new", team_id=2))
        run.note(team.members)
        session.add(Member(name="newer", team_id=3))
        with session.no_autoflush:
            run.note(session.get(Team, 3).members)


@case
def load_by_a_second_statement(run: Run) -> None:
    with run.scope() as session:
        statement = select(Team).order_by(Team.id)
        options = selectinload(Team.members).selectinload(Member.tags)
        teams = session.scalars(statement.options(options, selectinload(Team.leaves))).all()
        run.note([(team.members, [member.tags for member in team.members]) for team in teams])
        run.look(session)


@case
def load_by_a_second_statement_to_one(run: Run) -> None:
    with run.scope() as session:
        statement = select(Member).order_by(Member.id).options(selectinload(Member.team))
        run.note([member.team for member in session.scalars(statement)])
        run.look(session)


@case
def load_by_a_join(run: Run) -> None:
    with run.scope() as session:
        statement = select(Team).order_by(Team.id).options(joinedload(Team.members))
        with run.failing():
            session.scalars(statement).all()
        run.note(session.scalars(statement).unique().all())
        run.look(session)
        inner = select(Member).options(joinedload(Member.team, innerjoin=True)).order_by(Member.id)
        run.note(session.scalars(inner).all())


@case
def load_over_what_is_loaded_and_changed(run: Run) -> None:
    with run.scope() as session:
        team = run.keep(session.get(Team, 1))
        loaded = list(team.members)
        team.members.remove(loaded[0])
        with session.no_autoflush:
            session.scalars(select(Team).options(selectinload(Team.members))).all()
        run.look(session)
        statement = select(Team).options(selectinload(Team.members))
        session.scalars(statement.execution_options(populate_existing=True)).all()
        run.look(session)


@case
def models_that_say_how_they_are_loaded(run: Run) -> None:
    with run.scope() as session:
        authors = session.scalars(select(Author).order_by(Author.id)).all()
        run.note([author.books for author in authors])
        run.look(session)
    with run.scope() as session:
        run.note(session.scalars(select(Book).order_by(Book.id)).all())
        run.look(session)
        run.note(session.scalars(select(Author).options(lazyload(Author.books))).all())


@case
def options_that_forbid_loading(run: Run) -> None:
    with run.scope() as session:
        member = session.scalars(select(Member).options(raiseload("*"))).first()
        run.keep(member)
        with run.failing():
            run.note(member.team)
        run.note(session.scalars(select(Team).options(noload(Team.members))).first().members)
        run.look(session)


@case
def options_go_along_to_lazy_loads(run: Run) -> None:
    with run.scope() as session:
        option = lazyload(Team.members).joinedload(Member.passport)
        team = run.keep(session.scalars(select(Team).options(option)).first())
        run.note(team.members)
        run.look(session)
        older = with_loader_criteria(Member, Member.rank > 4)
        other = session.scalars(select(Team).where(Team.id == 2).options(older)).one()
        run.note(other.members)


@case
def other_ways_of_eager_loading(run: Run) -> None:
    with run.scope() as session:
        run.note(session.scalars(select(Team).options(subqueryload(Team.members))).all())
        joined = select(Team).join(Team.members).where(Member.rank > 4)
        eager = joined.options(contains_eager(Team.members))
        run.note(session.scalars(eager.execution_options(populate_existing=True)).unique().all())
        run.look(session)


@case
def trees(run: Run) -> None:
    with run.scope() as session:
        root = run.keep(session.get(Node, 1))
        run.note([(child.name, child.children, child.parent is root) for child in root.children])
        run.look(session)
    with run.scope() as session:
        option = selectinload(Node.children, recursion_depth=2)
        run.note(session.scalars(select(Node).where(Node.id == 1).options(option)).all())
        run.look(session)
        run.note(session.get(Node, 4).parent.parent.parent)


@case
def selectin_over_many_and_none(run: Run) -> None:
    with run.scope() as session:
        option = selectinload(Team.members)
        none = select(Team).where(Team.id == 99).options(option)
        run.note(session.scalars(none).all())
        run.note(session.scalars(select(Team).where(Team.id == 3).options(option)).all())
        run.note(session.scalars(select(Worker).order_by(Worker.id)).all())


@by_hand
def selectin_in_pages(run: Run) -> None:
    with run.session() as session:
        pages = select(Team).order_by(Team.id).options(selectinload(Team.members))
        found = session.scalars(pages.execution_options(yield_per=1))
        run.note([team.members for team in found])
