-- lib.lua: put in front of every other script of this folder. What they all share: key names, clock, locks, dead letters.
--
-- KEYS  1 lease   zset  row -> lease end, ms          2 delay  zset  row -> due, ms
--       3 dead    zset  row -> time of death, ms      4 fence  string, highest fencing token given out
--       5 worker  hash  last turn of one worker       6 stats  hash, counters       7 stale  list, refused settles
-- ARGV  1 prefix of all other keys: t:<row> (state row), done:<row>, lock:<name>, wait:<name>, budget:<queue list>
--
-- A state row is a hash: st (q queued, r running, d delayed, p parked, x dead), msg (the Celery message, as it is in the
-- queue), q (the list it came from), tag (its delivery tag), f (fence of the holder), w and tn (worker and turn that
-- claimed it), ls (lease, ms), s (1 = the task was started), a (attempts that ended in a retry), c (crashes), rt (times
-- it came back unstarted), mc (max crashes), lk (lock name), lf (fence of the last settle), err (last reason).
--
-- Time is the server's. Numbers beyond 2^31 are formatted with %.0f: tostring() would round microseconds.

local LEASE, DELAY, DEAD, FENCE, WORKER, STATS, STALE = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local P = ARGV[1]
local clock = redis.call('TIME')
local now_us = clock[1] * 1000000 + clock[2]
local now_ms = math.floor(now_us / 1000)
local MAX_RETURNS = 20 -- unstarted and given back this often, it is more likely to be the cause than a bystander

local function int(number) return string.format('%.0f', number) end
local function row_key(row) return P .. 't:' .. row end
local function done_key(row) return P .. 'done:' .. row end

local tally = {}
local function count(name, by) tally[name] = (tally[name] or 0) + (by or 1) end
local function write_counts()
  for name, by in pairs(tally) do redis.call('HINCRBY', STATS, name, by) end
end

-- The lock is free: the message that has waited longest goes to the front of its queue.
local function free_lock(name, row)
  if not name or name == '' then return end
  local key = P .. 'lock:' .. name
  if redis.call('HGET', key, 'o') ~= row then return end
  redis.call('DEL', key)
  while true do
    local waiter = redis.call('LPOP', P .. 'wait:' .. name)
    if not waiter then return end
    local w = redis.call('HMGET', row_key(waiter), 'st', 'q', 'msg')
    if w[1] == 'p' then
      redis.call('HSET', row_key(waiter), 'st', 'q')
      redis.call('RPUSH', w[2], w[3])
      return
    end
  end
end

local function bury(row, reason)
  redis.call('HSET', row_key(row), 'st', 'x', 'err', reason, 'at', int(now_ms), 'w', '')
  redis.call('ZADD', DEAD, int(now_ms), row)
  count('dead')
end

-- The lease is extended if this worker still holds it; whether it does.
local function renew(worker, row, fence, ms, started)
  local v = redis.call('HMGET', row_key(row), 'st', 'f', 'w')
  if v[1] ~= 'r' or v[2] ~= fence or v[3] ~= worker then return false end
  redis.call('ZADD', LEASE, int(now_ms + tonumber(ms)), row)
  if started == '1' then redis.call('HSET', row_key(row), 's', '1', 'ls', ms) end
  return true
end

-- To the end of the queue that is consumed next, as kombu puts back what it restores.
local function to_front(row, q, msg)
  redis.call('HSET', row_key(row), 'st', 'q', 'w', '')
  redis.call('HDEL', row_key(row), 's')
  redis.call('RPUSH', q, msg)
end
