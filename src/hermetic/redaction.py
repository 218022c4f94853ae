"""Keeping secrets out of what is shown: by the names they go by."""

from __future__ import annotations

from sqlalchemy import URL

_SECRET_WORDS = ("password", "passwd", "passfile", "secret", "token", "credential", "sslkey")


def is_secret(name: str) -> bool:
    """Whether a setting of this name is not for anybody's eyes."""
    lowered = name.lower()
    return any(word in lowered for word in _SECRET_WORDS)


def redacted(url: URL) -> str:
    """The URL without its password, and without any other secret in its query."""
    query = {key: "***" if is_secret(key) else value for key, value in url.query.items()}
    return url.set(query=query).render_as_string(hide_password=True)


def without_secrets(url: URL) -> tuple[URL, dict[str, str]]:
    """The URL without the secrets of its query, and those, by the names that the driver knows."""
    found = {
        key: value for key, value in url.query.items() if is_secret(key) and isinstance(value, str)
    }
    return url.difference_update_query(found), found
