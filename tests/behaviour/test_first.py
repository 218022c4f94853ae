from tests.models import User
from tests.worlds import World


async def test_a_scope_commits(world: World) -> None:
    async with world.session() as session:
        session.add(User(username="ann"))

    assert session.outcome.name == "COMMITTED"
    assert world.usernames() == ["ann"]
