-- lib.lua: in front of every script that has its KEYS. What they all share: key names, clock, counters, how rows are read.
--
-- KEYS  1 lease   zset  row -> lease end, ms          2 delay  zset  row -> due, ms
--       3 dead    zset  row -> time of death, ms      4 fence  string, highest fencing token given out
--       5 worker  hash  last turn of one worker       6 stats  hash, counters       7 stale  list, refused settles
-- ARGV  1 prefix of all other keys: t:<row> (state row), done:<row>, lock:<name>, wait:<name>, budget:<queue list>,
--       job:<job>, marks:<job>, paused, clock (the last turn of anybody's, and before when nothing is reaped)
--
-- A state row is a hash: st (its state), msg (the Celery message, as it is in the
-- queue), q (the list it came from), tag (its delivery tag), nw (which submission of its task id it is), f (fence of the
-- holder), w and tn (worker and turn that claimed it), s (1 = the task was started), a (attempts that ended in a retry),
-- c (crashes), rt (times it came back unstarted), mc (max crashes of its task), lk (lock name), pk (1 = it was parked
-- for it), lf (fence of the last settle), err (last reason), at (time of death, ms), jb (the shard it is).
--
-- A completion record, done:<row>, holds the fence that completed it and the submissions that are complete.
--
-- A job (sharding.py) is a hash: what (is split: task and size), pub (shards published), total (once all are), done, dead,
-- joined (when, ms), on (all or success), keep (ms), join (its message), list (its queue), expires (ms). marks:<job> has two
-- bits for each shard: 0 open, 1 done, 2 dead.
--
-- A lock is a hash: o (the row that holds it), f (its fence), n (the row that was woken for it).
--
-- Scripts are not rolled back, so no command of theirs may fail after the first write. The first four keys are looked at
-- first: if one of them is no such thing, nothing is done, and who asked asks again (MISCONF). The other three are records
-- that nothing depends on, and begin again. A key of a single row, lock, budget or job that somebody has put something else
-- into is deleted and taken for absent (what it said is gone); what cannot be put into its queue, because that is no list,
-- waits among the delayed. These are counted as broken; lists are named in `broken_lists`.
--
-- A permission is asked for by each command, so a script may be stopped anywhere. A message is then in two places rather
-- than in none: what is new is written first (index, then row), and what is old is removed last. Whoever claims or reaps
-- the second of them finds that the row is elsewhere; what only waits for ever is found by an audit.
--
-- Redis serves nobody else during a script, so the work of a call is bounded: turn.lua and audit.lua say by what, and the
-- callers of the others send only so much (submit.lua 1000 messages unless told, 8 us each; shard.lua 200; requeue.lua,
-- purge.lua and audit.lua 100 rows; renew.lua what a worker holds, 3 us each; restore.lua and job.lua one). No command
-- takes longer because a queue, an index or a wait list is long. What a lock's end looks at: MOST_STRAYS.
--
-- Time is the server's. Numbers beyond 2^31 are formatted with %.0f: tostring() would round microseconds.

local LEASE, DELAY, DEAD, FENCE, WORKER, STATS, STALE = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local P = ARGV[1]
local VITAL = 4
local no_records = {}
for number, kind in ipairs({ 'zset', 'zset', 'zset', 'string', 'hash', 'hash', 'list' }) do
  local found = redis.call('TYPE', KEYS[number]).ok
  if found ~= kind and found ~= 'none' then
    if number <= VITAL then
      return redis.error_reply('MISCONF ' .. KEYS[number] .. ' has to be a ' .. kind .. ', not a ' .. found)
    end
    no_records[#no_records + 1] = KEYS[number]
  end
end
local clock = redis.call('TIME')
local now_us = clock[1] * 1000000 + clock[2]
local now_ms = math.floor(now_us / 1000)
local LONGEST_MS = 1e14 -- what Redis certainly takes for a time to live, and a score that keeps its milliseconds
local MAX_RETURNS = 20 -- unstarted and given back this often, it is more likely to be the cause than a bystander

-- The states of a row: in its queue, held by a worker, waiting for its time, waiting for its lock, a dead letter.
local QUEUED, RUNNING, DELAYED, PARKED, BURIED = 'q', 'r', 'd', 'p', 'x'

local function int(number) return string.format('%.0f', number) end
local function row_key(row) return P .. 't:' .. row end
local function done_key(row) return P .. 'done:' .. row end
local function lock_key(name) return P .. 'lock:' .. name end
local function wait_key(name) return P .. 'wait:' .. name end

-- A count that is no number any more begins again. Whether it was counted: who may not has to decide what that means.
local function add(key, field, by)
  local reply = redis.pcall('HINCRBY', key, field, by)
  if type(reply) ~= 'table' then return true end
  if not string.find(reply.err, 'integer', 1, true) and not string.find(reply.err, 'overflow', 1, true) then return false end
  redis.call('HSET', key, field, math.max(by, 0))
  return true
end

local tally = {}
local function count(name, by) tally[name] = (tally[name] or 0) + (by or 1) end
local function write_counts()
  for name, by in pairs(tally) do add(STATS, name, by) end
end

if #no_records > 0 then
  redis.call('UNLINK', unpack(no_records))
  count('broken', #no_records)
end

-- A command on a key of ours, which may be something else by now: then it goes, and the command finds nothing.
local function on_ours(command, key, ...)
  local reply = redis.pcall(command, key, ...)
  if type(reply) ~= 'table' or not reply.err then return reply end
  if string.find(reply.err, 'WRONGTYPE', 1, true) then
    redis.call('UNLINK', key)
    count('broken')
  end
  return redis.call(command, key, ...)
end

-- Fields of a row, one after the other; false for those that it has not.
local function read_row(row, ...) return unpack(on_ours('HMGET', row_key(row), ...), 1, select('#', ...)) end

-- Of a completion record: the fence that completed the row, and the submissions that are complete (' one two ').
local function read_record(record) return string.match(record or '', '^(%d+)(.*)$') end
local function completed(row) return read_record(on_ours('GET', done_key(row))) end

local function is_list(key)
  local kind = redis.call('TYPE', key).ok
  return kind == 'list' or kind == 'none'
end

-- A time to live that somebody gave, as Redis takes one; nil for none.
local function as_ttl(ms)
  ms = tonumber(ms)
  if ms and ms >= 1 then return int(math.min(ms, LONGEST_MS)) end
end
