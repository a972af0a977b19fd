-- job.lua: a job (sharding.py) begins, or is found as an earlier call left it.
--
-- KEYS  1-7 as in lib.lua; 8 the list that the join goes to, if there is a join
-- ARGV  1 prefix   2 job   3 what is split: task and size   4 when to join, all | success   5 ms its keys live after that
--       6 the join's message, or ''   7 ms until the join's list expires (x-expires), or 0
-- Reply {what is split, shards published, total or -1}. A repeat answers the same.
--
-- Nothing published yet: whoever comes last says what is split.

local key = job_key(ARGV[2])
if not as_ttl(ARGV[5]) then return redis.error_reply('ERR locked_retry: malformed job') end
if KEYS[8] and not is_list(KEYS[8]) then return redis.error_reply('WRONGTYPE ' .. KEYS[8] .. ' is no queue') end

local what, published, total = unpack(redis.call('HMGET', key, 'what', 'pub', 'total'), 1, 3)
if not what or not tonumber(published) or (published == '0' and not total) then
  redis.call('HSET', key, 'what', ARGV[3], 'on', ARGV[4], 'keep', ARGV[5], 'join', ARGV[6], 'list', KEYS[8] or '',
    'expires', ARGV[7], 'pub', 0, 'done', 0, 'dead', 0)
  return { ARGV[3], 0, -1 }
end
join_when_ended(ARGV[2]) -- what was put off because its list was none
write_counts()
return { what, tonumber(published), tonumber(total or -1) }
