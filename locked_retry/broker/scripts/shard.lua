-- shard.lua: the next shards of a job into their queues. All or nothing.
--
-- KEYS  1-7 as in lib.lua; 8.. queue lists
-- ARGV  1 prefix   2 job   3 number of the first shard (they count from 1)   4 total if these are the last, else ''
--       then for each queue list: ms until it expires (x-expires), or 0
--       then for each shard: task id, message, number of its list (from 1)
-- Reply {shards published before this call, shards published now, total or -1}; nothing if the job is unknown
--
-- How many are published is kept with them, so what an earlier call has published (a repeat after a lost reply, a
-- splitter that crashed, another one at the same time) is not published again, and a repeat changes nothing.
-- A shard that the workers have already, from an earlier job of this name, counts as what it is there.
--
-- Every refusal (OOM, READONLY, MISCONF) comes from the first write, when nothing has changed.

local FIXED = 4
local job, first, total = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local key = job_key(job)
local lists = #KEYS - 7
local base = FIXED + lists
local shards = (#ARGV - base) / 3
if not first or shards % 1 ~= 0 then return redis.error_reply('ERR locked_retry: malformed shard') end

local published, closed_at = unpack(redis.call('HMGET', key, 'pub', 'total'), 1, 2)
if not published then return {} end
local before, closed = tonumber(published), tonumber(closed_at)
if closed then return { before, before, closed } end
if first > before + 1 then return redis.error_reply('ERR locked_retry: shards before these are missing') end
for at = base + 3, #ARGV, 3 do
  local list = tonumber(ARGV[at]) or 0
  if list < 1 or list > lists then return redis.error_reply('ERR locked_retry: malformed shard') end
end
for number = 8, #KEYS do
  if not is_list(KEYS[number]) then return redis.error_reply('WRONGTYPE ' .. KEYS[number] .. ' is no queue') end
end

local after = math.max(before, first + shards - 1)
if total and total < after then total = nil end -- other items than before: whoever sent this finds out by the reply
redis.call('HSET', key, 'pub', after)
if total then redis.call('HSET', key, 'total', total) end

for number = before + 1, after do
  local at = base + 3 * (number - first)
  local row, message, list = ARGV[at + 1], ARGV[at + 2], KEYS[7 + tonumber(ARGV[at + 3])]
  local state = on_ours('HGET', row_key(row), 'st')
  if state == BURIED then
    mark(row, FELL)
  elseif not state and completed(row) then
    mark(row, DONE)
  elseif not state then
    redis.call('LPUSH', list, message)
    count('submitted')
  end
end
for number = 1, lists do
  if ARGV[FIXED + number] ~= '0' then redis.call('PEXPIRE', KEYS[7 + number], ARGV[FIXED + number]) end
end
if total then join_when_ended(job) end
write_counts()
return { before, after, total or -1 }
