"""Versions of tables in Redis, for everybody who uses it.

As ``freshness``, in Redis's own words: each of these scripts is one step to all others. The moments
are Redis's. A version is a random word; one that Redis has lost, or brings back from before its own
restart, is never taken for one that is known.
"""

from __future__ import annotations

import secrets
from typing import Any, NamedTuple

# a table's hash has its version ``v``, the run of the server that it was set in ``r``, and a field
# for each mark with the moment of its end
_HEAD = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
"""
_LOOK = (
    _HEAD
    + """
local found, marked = {}, false
for i, key in ipairs(KEYS) do
  local version, set_in, over = nil, nil, false
  local all = redis.call('HGETALL', key)
  for j = 1, #all, 2 do
    if all[j] == 'v' then version = all[j + 1]
    elseif all[j] == 'r' then set_in = all[j + 1]
    elseif tonumber(all[j + 1]) > now then marked = true
    else over = true; redis.call('HDEL', key, all[j]) end
  end
  if over or not version or set_in ~= run then
    version = ARGV[1]
    redis.call('HSET', key, 'v', version, 'r', run)
  end
  found[i] = version
end
if marked then return {} end
return found
"""
)
_BEGIN = (
    _HEAD
    + """
for i, key in ipairs(KEYS) do
  redis.call('HSET', key, 'v', ARGV[1], 'r', run, ARGV[2], now + ARGV[3])
end
"""
)
_FINISH = (
    _HEAD
    + """
for i, key in ipairs(KEYS) do
  if #ARGV > 1 then redis.call('HDEL', key, ARGV[2]) end
  redis.call('HSET', key, 'v', ARGV[1], 'r', run)
end
"""
)


class RedisClaim(NamedTuple):
    """Somebody's marks."""

    keys: tuple[str, ...]
    mark: str


class RedisTokens:
    """As ``SharedTokens``, in Redis."""

    blocking = True

    def __init__(self, client: Any, identity: str, lease: float) -> None:
        self.lease = int(lease * 1000)
        self._prefix = f"hermetic:{{{identity}}}:"
        self._places: dict[frozenset[str], tuple[str, ...]] = {}
        self._look, self._begin, self._finish = map(
            client.register_script, (_LOOK, _BEGIN, _FINISH)
        )

    def places(self, names: frozenset[str]) -> tuple[str, ...]:
        found = self._places.get(names)
        if found is None:
            found = self._places[names] = tuple(sorted(self._prefix + each for each in names))
        return found

    def look(self, places: tuple[str, ...]) -> tuple[bytes, ...] | None:
        found = self._look(keys=places, args=(_nonce(),))
        return tuple(found) if found else None

    def begin(self, places: tuple[str, ...]) -> RedisClaim:
        claim = RedisClaim(places, f"m{_nonce()}")
        self._begin(keys=places, args=(_nonce(), claim.mark, self.lease))
        return claim

    def finish(self, claim: RedisClaim) -> None:
        self._finish(keys=claim.keys, args=(_nonce(), claim.mark))

    def forget(self, places: tuple[str, ...]) -> None:
        self._finish(keys=places, args=(_nonce(),))

    def start_anew(self) -> None:
        """In a forked child: redis-py's pool sees the fork by itself."""

    def close(self) -> None:
        """The client is closed by whoever has made it."""


def _nonce() -> str:
    return secrets.token_hex(8)
