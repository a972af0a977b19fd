"""The steps of the small queue: Lua that begins with its name. An entry is {id, message, failures, crashes} as JSON."""

from __future__ import annotations

#: Redis's time, and what several steps share: `free` takes an entry from who holds it, `give_up` keeps its letter.
_HEAD = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local function free(token)
  local raw = redis.call('HGET', 'mini:leased', token)
  redis.call('HDEL', 'mini:leased', token)
  redis.call('ZREM', 'mini:deadlines', token)
  return raw and cjson.decode(raw)
end
local function crash(token, most)
  local entry = free(token)
  if not entry then return end
  entry.crashes = entry.crashes + 1
  if most > 0 and entry.crashes >= most then
    redis.call('HSET', 'mini:dead', entry.id, cjson.encode(entry))
  else
    redis.call('LPUSH', 'mini:ready', cjson.encode(entry))
  end
end
"""

#: ARGV: id, message. Whatever was queued before.
PUT_AGAIN = """-- put_again
redis.call('RPUSH', 'mini:ready', cjson.encode({id = ARGV[1], message = ARGV[2], failures = 0, crashes = 0}))
"""

#: ARGV: id, message. An id that was queued once is not queued again.
PUT = f"-- put\nif redis.call('SADD', 'mini:seen', ARGV[1]) == 1 then {PUT_AGAIN} end"

#: ARGV: lease in ms. The token, id, message and failures of the next entry; nothing if there is none.
TAKE = (
    "-- take"
    + _HEAD
    + """
local raw = redis.call('LPOP', 'mini:ready')
if not raw then return false end
local token = redis.call('INCR', 'mini:token')
redis.call('HSET', 'mini:leased', token, raw)
redis.call('ZADD', 'mini:deadlines', now + ARGV[1], token)
local entry = cjson.decode(raw)
return {token, entry.id, entry.message, entry.failures}
"""
)

#: ARGV: token.
DONE = "-- done" + _HEAD + "free(ARGV[1])"

#: ARGV: token, crashes at which an entry is given up (0: never).
CRASHED = "-- crashed" + _HEAD + "crash(ARGV[1], tonumber(ARGV[2]))"

#: ARGV: token, delay in ms, failures to count, failures that are retried.
RETRY = (
    "-- retry"
    + _HEAD
    + """
local entry = free(ARGV[1])
if not entry then return end
entry.failures = entry.failures + ARGV[3]
if entry.failures > tonumber(ARGV[4]) then
  redis.call('HSET', 'mini:dead', entry.id, cjson.encode(entry))
else
  redis.call('ZADD', 'mini:delayed', now + ARGV[2], cjson.encode(entry))
end
"""
)

PROMOTE = (
    "-- promote"
    + _HEAD
    + """
for _, raw in ipairs(redis.call('ZRANGEBYSCORE', 'mini:delayed', 0, now, 'LIMIT', 0, 100)) do
  redis.call('ZREM', 'mini:delayed', raw)
  redis.call('RPUSH', 'mini:ready', raw)
end
"""
)

#: ARGV: crashes at which an entry is given up.
REAP = (
    "-- reap"
    + _HEAD
    + """
for _, token in ipairs(redis.call('ZRANGEBYSCORE', 'mini:deadlines', 0, now)) do crash(token, tonumber(ARGV[1])) end
"""
)

#: ARGV: lease in ms, tokens. Those that are still held.
RENEW = (
    "-- renew"
    + _HEAD
    + """
local kept = {}
for n = 2, #ARGV do
  if redis.call('HEXISTS', 'mini:leased', ARGV[n]) == 1 then
    redis.call('ZADD', 'mini:deadlines', now + ARGV[1], ARGV[n])
    kept[#kept + 1] = ARGV[n]
  end
end
return kept
"""
)

#: ARGV: id. Whether there was such a dead letter.
REDRIVE = """-- redrive
local raw = redis.call('HGET', 'mini:dead', ARGV[1])
local entry = raw and cjson.decode(raw)
if not raw or entry.message == '' then return 0 end
entry.failures, entry.crashes = 0, 0
redis.call('HDEL', 'mini:dead', ARGV[1])
redis.call('RPUSH', 'mini:ready', cjson.encode(entry))
return 1
"""
