"""What the Databases of a process do, for people to look at: a state, and a page of it."""

from .mounted import asgi, wsgi
from .shape import ScopeDetail, State
from .state import scope_of, state_of

__all__ = ["ScopeDetail", "State", "asgi", "scope_of", "state_of", "wsgi"]
