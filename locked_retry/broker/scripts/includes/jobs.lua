-- jobs.lua: how the shards of a job end, and its join.

local OPEN, DONE, FELL = 0, 1, 2
local MOST_SHARDS = 2147483647 -- of a job: two bits each are the longest string that Redis has
local function job_key(job) return P .. 'job:' .. job end

-- All shards of the job have ended: its join goes into its queue, with the numbers in it, and the job's keys get a TTL.
local function join_when_ended(job)
  local key = job_key(job)
  local total, done, dead, on, joined, keep = unpack(
    on_ours('HMGET', key, 'total', 'done', 'dead', 'on', 'joined', 'keep'), 1, 6)
  local shards, done_shards, dead_shards = tonumber(total), tonumber(done) or 0, tonumber(dead) or 0
  local keep_ms = as_ttl(keep)
  if not shards or not keep_ms or joined then return end
  if done_shards + dead_shards < shards or (on == 'success' and dead_shards ~= 0) then return end
  local join, list, expires = unpack(redis.call('HMGET', key, 'join', 'list', 'expires'), 1, 3)
  if join and join ~= '' then
    local message = string.gsub(join, '\1(%a+)\1', { total = total, done = int(done_shards), dead = int(dead_shards) })
    if type(redis.pcall('LPUSH', list, message)) == 'table' then return end -- no list any more: `shard` again joins
    local expires_ms = as_ttl(expires)
    if expires_ms then redis.call('PEXPIRE', list, expires_ms) end
  end
  redis.call('HSET', key, 'joined', int(now_ms))
  redis.call('PEXPIRE', key, keep_ms)
  redis.call('PEXPIRE', P .. 'marks:' .. job, keep_ms)
end

-- A shard ('<job>/<number>') has ended, or is open again. Once done it stays done. Of a job that is gone: nothing.
local function mark(shard, as)
  local job, digits = string.match(shard, '^(.*)/(%d+)$')
  local number = tonumber(digits)
  local published = number and tonumber(on_ours('HGET', job_key(job), 'pub')) or 0
  if not number or number < 1 or number > math.min(published, MOST_SHARDS) then return end
  local marks, place = P .. 'marks:' .. job, '#' .. int(number)
  local was = on_ours('BITFIELD', marks, 'GET', 'u2', place)[1]
  if was == DONE then return end
  if not add(job_key(job), 'done', 0) then redis.call('HINCRBY', job_key(job), 'done', 0) end -- refused before it is marked
  redis.call('BITFIELD', marks, 'SET', 'u2', place, as)
  if was == FELL then add(job_key(job), 'dead', -1) end
  if as ~= OPEN then add(job_key(job), as == DONE and 'done' or 'dead', 1) end
  join_when_ended(job)
end

local function mark_row(row, as)
  local shard = on_ours('HGET', row_key(row), 'jb')
  if shard then mark(shard, as) end
end
