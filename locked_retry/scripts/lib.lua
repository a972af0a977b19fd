-- lib.lua: put in front of every other script of this folder. What they all share: key names, clock, locks, dead letters.
--
-- KEYS  1 lease   zset  row -> lease end, ms          2 delay  zset  row -> due, ms
--       3 dead    zset  row -> time of death, ms      4 fence  string, highest fencing token given out
--       5 worker  hash  last turn of one worker       6 stats  hash, counters       7 stale  list, refused settles
-- ARGV  1 prefix of all other keys: t:<row> (state row), done:<row>, lock:<name>, wait:<name>, budget:<queue list>,
--       job:<job>, marks:<job>
--
-- A state row is a hash: st (q queued, r running, d delayed, p parked, x dead), msg (the Celery message, as it is in the
-- queue), q (the list it came from), tag (its delivery tag), f (fence of the holder), w and tn (worker and turn that
-- claimed it), ls (lease, ms), s (1 = the task was started), a (attempts that ended in a retry), c (crashes), rt (times
-- it came back unstarted), mc (max crashes), lk (lock name), lf (fence of the last settle), err (last reason), jb (the
-- shard it is).
--
-- A job (sharding.py) is a hash: what (is split: task and size), pub (shards published), total (once all are), done, dead,
-- joined (when, ms), and what job.lua is told about the join. marks:<job> has two bits for each shard: 0 open, 1 done,
-- 2 dead.
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

local function is_list(key)
  local kind = redis.call('TYPE', key).ok
  return kind == 'list' or kind == 'none'
end

local OPEN, DONE, FELL = 0, 1, 2
local function job_key(job) return P .. 'job:' .. job end

-- All shards of the job have ended: its join goes into its queue, with the numbers in it, and the job's keys get a TTL.
local function join_when_ended(job)
  local key = job_key(job)
  local v = redis.call('HMGET', key, 'total', 'done', 'dead', 'on', 'joined')
  if not v[1] or v[5] or v[2] + v[3] < tonumber(v[1]) or (v[4] == 'success' and v[3] ~= '0') then return end
  local w = redis.call('HMGET', key, 'join', 'list', 'expires', 'keep')
  if w[1] ~= '' then
    local message = string.gsub(w[1], '\1(%a+)\1', { total = v[1], done = v[2], dead = v[3] })
    if type(redis.pcall('LPUSH', w[2], message)) == 'table' then return end -- no list any more: `shard` again joins
    if w[3] ~= '0' then redis.call('PEXPIRE', w[2], w[3]) end
  end
  redis.call('HSET', key, 'joined', int(now_ms))
  redis.call('PEXPIRE', key, w[4])
  redis.call('PEXPIRE', P .. 'marks:' .. job, w[4])
end

-- A shard ('<job>/<number>') has ended, or is open again. Once done it stays done. Of a job that is gone: nothing.
local function mark(shard, as)
  local job, digits = string.match(shard, '^(.*)/(%d+)$')
  local number = tonumber(digits)
  local published = number and tonumber(redis.call('HGET', job_key(job), 'pub') or '0')
  if not number or number < 1 or number > published then return end
  local marks, place = P .. 'marks:' .. job, '#' .. int(number)
  local was = redis.call('BITFIELD', marks, 'GET', 'u2', place)[1]
  if was == DONE then return end
  redis.call('BITFIELD', marks, 'SET', 'u2', place, as)
  if was == FELL then redis.call('HINCRBY', job_key(job), 'dead', -1) end
  if as ~= OPEN then redis.call('HINCRBY', job_key(job), as == DONE and 'done' or 'dead', 1) end
  join_when_ended(job)
end

local function mark_row(row, as)
  local shard = redis.call('HGET', row_key(row), 'jb')
  if shard then mark(shard, as) end
end

local function bury(row, reason)
  redis.call('HSET', row_key(row), 'st', 'x', 'err', reason, 'at', int(now_ms), 'w', '')
  redis.call('ZADD', DEAD, int(now_ms), row)
  mark_row(row, FELL)
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
