"""Collections and references that are changed, and what the flush makes of it."""

from __future__ import annotations

from sqlalchemy import select

from tests.differential.cases.table import case
from tests.differential.pool import Author, Book, Leaf, Member, Node, Passport, Tag, Team
from tests.differential.run import Run


@case
def a_graph_of_new_objects(run: Run) -> None:
    with run.scope() as session:
        team = Team(name="new", members=[Member(name="a"), Member(name="b", tags={Tag(label="t")})])
        team.leaves.append(Leaf(shade="pale"))
        run.keep(team)
        session.add(team)
        run.look(session)
        session.flush()
        run.look(session)


@case
def append_and_remove(run: Run) -> None:
    with run.scope() as session:
        team = run.keep(session.get(Team, 1))
        first = run.keep(team.members[0])
        team.members.remove(first)
        team.members.append(Member(name="new"))
        team.members.append(session.get(Member, 4))
        run.look(session)
        session.flush()
        run.look(session)


@case
def append_without_loading(run: Run) -> None:
    with run.scope() as session:
        team = run.keep(session.get(Team, 1))
        member = Member(name="new")
        member.team = team
        run.look(session)
        session.add(member)
        run.look(session)
        with session.no_autoflush:
            run.note(team.members)
        session.flush()
        run.note(team.members)
        run.look(session)


@case
def set_a_reference(run: Run) -> None:
    with run.scope() as session:
        member = run.keep(session.get(Member, 1))
        member.team = session.get(Team, 2)
        run.look(session)
        session.flush()
        run.look(session)
        member.team = None
        session.flush()
        run.look(session)
        member.team = member.team


@case
def set_a_reference_back(run: Run) -> None:
    with run.scope() as session:
        member = run.keep(session.get(Member, 1))
        before = member.team
        member.team = None
        member.team = before
        run.look(session)
        session.flush()
        run.look(session)


@case
def set_the_column_and_not_the_reference(run: Run) -> None:
    with run.scope() as session:
        member = run.keep(session.get(Member, 1))
        run.note(member.team)
        member.team_id = 2
        session.flush()
        run.note(member.team)
        run.look(session)
        session.expire(member, ["team"])
        run.note(member.team)


@case
def replace_a_collection(run: Run) -> None:
    with run.scope() as session:
        team = run.keep(session.get(Team, 1))
        team.members = [Member(name="only"), session.get(Member, 2)]
        run.look(session)
        session.flush()
        run.look(session)
        team.members = []


@case
def orphans_are_deleted(run: Run) -> None:
    with run.scope() as session:
        team = run.keep(session.get(Team, 1))
        leaf = run.keep(team.leaves.pop())
        run.look(session)
        session.flush()
        run.look(session)
        run.keep(leaf)
        author = session.get(Author, 1)
        author.books = author.books[1:]
        session.flush()
        run.look(session)


@case
def orphans_that_were_never_there(run: Run) -> None:
    with run.scope() as session:
        team = run.keep(session.get(Team, 1))
        leaf = run.keep(Leaf(shade="new"))
        team.leaves.append(leaf)
        team.leaves.remove(leaf)
        run.look(session)
        session.flush()
        run.look(session)


@case
def one_to_one_is_replaced(run: Run) -> None:
    with run.scope() as session:
        member = run.keep(session.get(Member, 1))
        run.keep(member.passport)
        member.passport = Passport(number="B2")
        session.flush()
        run.look(session)
        member.passport = None
        session.flush()
        run.look(session)


@case
def many_to_many_is_changed_from_both_sides(run: Run) -> None:
    with run.scope() as session:
        member, tag = run.keep(session.get(Member, 1)), run.keep(session.get(Tag, 2))
        member.tags.discard(tag)
        run.look(session)
        session.flush()
        tag.members.add(session.get(Member, 3))
        tag.members.add(Member(name="new"))
        session.flush()
        run.look(session)


@case
def delete_with_cascades(run: Run) -> None:
    with run.scope() as session:
        # known beforehand, because the flush loads them in no order
        members = [run.keep(session.get(Member, number)) for number in (1, 2)]
        run.note(len(members))
        session.delete(run.keep(session.get(Team, 1)))
        session.delete(run.keep(session.get(Author, 1)))
        run.look(session)
        session.flush()
        run.look(session)


@case
def delete_with_passive_deletes_and_loaded_children(run: Run) -> None:
    with run.scope() as session:
        team = run.keep(session.get(Team, 1))
        kept = [run.keep(leaf) for leaf in team.leaves]
        # which of them the flush would load it for is left to chance
        run.note([leaf.team for leaf in kept])
        session.delete(team)
        session.flush()
        run.look(session)


@case
def delete_of_many_to_many(run: Run) -> None:
    with run.scope() as session:
        session.delete(run.keep(session.get(Tag, 1)))
        session.delete(run.keep(session.get(Member, 1)))
        session.flush()
        run.look(session)


@case
def trees_grow_and_fall(run: Run) -> None:
    with run.scope() as session:
        root = run.keep(session.get(Node, 1))
        root.children[1].children.append(Node(name="new", children=[Node(name="newest")]))
        session.flush()
        run.look(session)
        left = root.children[0]
        left.children[0].parent = root
        session.flush()
        session.delete(left)
        session.flush()
        run.look(session)
        run.note(session.scalars(select(Node).order_by(Node.id)).all())


@case
def new_children_of_old_and_old_of_new(run: Run) -> None:
    with run.scope() as session:
        session.add(run.keep(Book(title="new", author=session.get(Author, 2))))
        book = run.keep(session.get(Book, 1))
        book.author = Author(name="fresh")
        run.look(session)
        session.flush()
        run.look(session)


@case
def keys_come_by_the_reference(run: Run) -> None:
    with run.scope() as session:
        members = [Member(name=f"m{number}", team=Team(name=f"t{number}")) for number in range(3)]
        session.add_all(reversed(members))
        session.flush()
        for member in members:
            run.keep(member)
        run.note([member.team and member.team_id == member.team.id for member in members])


@case
def a_viewonly_collection_writes_nothing(run: Run) -> None:
    with run.scope() as session:
        team = run.keep(session.get(Team, 2))
        run.note(team.elders)
        team.members[0].rank = 0
        session.flush()
        run.note(team.elders)
        session.expire(team, ["elders"])
        run.note(team.elders)


@case
def deleted_from_under_a_collection(run: Run) -> None:
    with run.scope() as session:
        team = run.keep(session.get(Team, 1))
        member = run.keep(team.members[0])
        run.note(member.tags, member.passport)
        session.delete(member)
        session.flush()
        run.note(team.members)
        session.expire(team)
        run.note(team.members)
