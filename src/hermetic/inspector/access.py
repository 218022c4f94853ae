"""Who may see the inspector's page.

With a token: whoever has it, from anywhere. Without one: whoever comes from this machine, by an
address that can only mean this machine, and not through a proxy.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock

from ..checking import Checker

SHORTEST = 16
LONGEST = 500

# by which a proxy tells for whom it asks
_FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked. Names of headers are in lower case; ``mount`` is the path in front of the
    page, without a slash at its end; ``peer`` the address that it came from.
    """

    method: str
    path: str
    mount: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    peer: str | None = None
    secure: bool = False
    body: bytes = b""


class Access:
    """Says of a request whether it is let in, and gives cookies to those who showed the token.

    :param token: 16 characters and more. ``None``: this machine alone.
    """

    def __init__(self, token: str | None = None, *, place: str = "inspector") -> None:
        self._token: bytes | None = None
        self._cookie = ""
        self._value = ""
        self._codes: set[str] = set()
        self._lock = Lock()
        if token is not None:
            if not (SHORTEST <= len(token) <= LONGEST and token.isascii() and token.isprintable()):
                problem = f"must have {SHORTEST} to {LONGEST} characters of ASCII, all printable"
                hint = 'python -c "import secrets; print(secrets.token_urlsafe())" makes one.'
                # a wrong one may be a right one somewhere else: it is not shown
                raise Checker(place).refuse("token", ..., problem, hint)
            self._token = token.encode()
            # two pages of one machine share its cookies, whatever their ports are
            self._cookie = "hermetic-" + hashlib.sha256(self._token).hexdigest()[:8]
            self._value = hmac.new(self._token, b"inspector's cookie", "sha256").hexdigest()

    @property
    def has_token(self) -> bool:
        """Whether a token lets people in."""
        return self._token is not None

    def code(self) -> str:
        """A new word that lets one browser in, once."""
        made = secrets.token_urlsafe(24)
        with self._lock:
            self._codes.add(made)
        return made

    def is_code(self, given: str) -> bool:
        """Whether it is one that nobody has used; it is used now."""
        told = given.encode(errors="replace")
        with self._lock:
            for known in self._codes:
                if hmac.compare_digest(known.encode(), told):
                    self._codes.remove(known)
                    return True
        return False

    def is_token(self, given: str) -> bool:
        """Whether it is the token. Takes the same time for every wrong one."""
        return self._token is not None and hmac.compare_digest(
            hashlib.sha256(self._token).digest(),
            hashlib.sha256(given.encode(errors="replace")).digest(),
        )

    def is_known(self, request: Request) -> bool:
        """Whether it shows the token, or the cookie that was given for it."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.is_token(given.strip()):
            return True
        # by hand: http.cookies forgets all of them where it does not understand one
        for each in request.headers.get("cookie", "").split(";"):
            name, _, value = each.strip().partition("=")
            if name == self._cookie and hmac.compare_digest(
                value.encode(errors="replace"), self._value.encode()
            ):
                return True
        return False

    def cookie_for(self, request: Request) -> str:
        """The header that has a browser remember that it is let in, until it is closed."""
        secure = "; Secure" if request.secure else ""
        path = f"{request.mount}/"
        return f"{self._cookie}={self._value}; Path={path}; HttpOnly; SameSite=Strict{secure}"

    def refusal(self, request: Request) -> str | None:
        """Without a token: why a request is not let in; ``None`` where it is."""
        if any(name in request.headers for name in _FORWARDED):
            return "It came through a proxy, and the inspector has no token."
        if request.peer is None or not _is_here(request.peer):
            return "It did not come from this machine, and the inspector has no token."
        if not is_local_host(request.headers.get("host", "")):
            # a page of somebody else's whose name was made to lead here
            return "The name that it was sent to does not mean this machine alone."
        return None


def is_local_host(host: str) -> bool:
    """Whether a Host header can only mean this machine."""
    name = host.strip().lower()
    if name.startswith("["):
        name = name[1:].partition("]")[0]
    else:
        name = name.rpartition(":")[0] if ":" in name else name
    name = name.rstrip(".")
    return name == "localhost" or name.endswith(".localhost") or _is_here(name)


def _is_here(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (found if mapped is None else mapped).is_loopback


def comes_from_elsewhere(request: Request) -> bool:
    """Whether a page of somebody else's has a browser ask."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is not None and origin.partition("://")[2] != request.headers.get("host", "")
