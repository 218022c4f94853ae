"""Versions of tables in Redis, for everybody who uses it.

As ``freshness``, in Redis's own words: each of these scripts is one step to all others. The moments
are Redis's. A version is a random word; one that Redis has lost, or brings back from before its own
restart, is never taken for one that is known.
"""

from __future__ import annotations

import secrets
from typing import Any, NamedTuple

# A table's hash has its version ``v``, the run of the server that it was set in ``r``, the moment
# of the last save that was seen in it ``s``, and a field for each mark with the moment of its end.
# To ask for the run costs more than all the rest. The moment of the last save, which is that of the
# start where nothing was saved, tells when to ask
_HEAD = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local saved = tostring(redis.call('LASTSAVE'))
local run, up
local function look_up()
  local info = redis.call('INFO', 'server')
  run = string.match(info, 'run_id:(%w+)')
  up = 1000 * tonumber(string.match(info, 'uptime_in_seconds:(%d+)'))
end
"""
_LOOK = (
    _HEAD
    + """
local found, marked = {}, false
local tables = #KEYS - tonumber(ARGV[3])
for i = 1, tables do
  local key = KEYS[i]
  local version, set_in, seen, over = nil, nil, nil, false
  local all = redis.call('HGETALL', key)
  for j = 1, #all, 2 do
    if all[j] == 'v' then version = all[j + 1]
    elseif all[j] == 'r' then set_in = all[j + 1]
    elseif all[j] == 's' then seen = all[j + 1]
    elseif tonumber(all[j + 1]) > now then marked = true
    else over = true; redis.call('HDEL', key, all[j]) end
  end
  if over or not version or seen ~= saved then
    if not run then look_up() end
    if over or not version or set_in ~= run then version = ARGV[1] end
    -- marks of before a restart may be lost: they are over when a lease is
    if up <= tonumber(ARGV[2]) then marked, seen = true, '' else seen = saved end
    redis.call('HSET', key, 'v', version, 'r', run, 's', seen)
  end
  found[i] = version
end
if marked then return {} end
if tables < #KEYS then found[#KEYS] = redis.call('GET', KEYS[#KEYS]) end
return found
"""
)
_BEGIN = (
    _HEAD
    + """
look_up()
local seen = up <= tonumber(ARGV[3]) and '' or saved
for i, key in ipairs(KEYS) do
  redis.call('HSET', key, 'v', ARGV[1], 'r', run, 's', seen, ARGV[2], now + ARGV[3])
end
"""
)
_FINISH = (
    _HEAD
    + """
look_up()
local seen = up <= tonumber(ARGV[3]) and '' or saved
for i, key in ipairs(KEYS) do
  redis.call('HDEL', key, ARGV[2])
  redis.call('HSET', key, 'v', ARGV[1], 'r', run, 's', seen)
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
        found = self._look(keys=places, args=(_nonce(), self.lease, 0))
        return tuple(found) if found else None

    def look_for(self, places: tuple[str, ...], key: str) -> tuple[Any, bytes | None] | None:
        """``look``, and what is kept under a key, in one word."""
        found = self._look(keys=(*places, key), args=(_nonce(), self.lease, 1))
        if not found:
            return None
        kept = found.pop() if len(found) > len(places) else None
        return tuple(found), kept

    def begin(self, places: tuple[str, ...]) -> RedisClaim:
        claim = RedisClaim(places, f"m{_nonce()}")
        self._begin(keys=places, args=(_nonce(), claim.mark, self.lease))
        return claim

    def finish(self, claim: RedisClaim) -> None:
        self._finish(keys=claim.keys, args=(_nonce(), claim.mark, self.lease))

    def forget(self, places: tuple[str, ...]) -> None:
        self._finish(keys=places, args=(_nonce(), "", self.lease))

    def start_anew(self) -> None:
        """In a forked child: redis-py's pool sees the fork by itself."""

    def close(self) -> None:
        """The client is closed by whoever has made it."""


def _nonce() -> str:
    return secrets.token_hex(8)
