-- restore.lua: a message that a plain Celery worker left in `unacked` goes back to its queues. One call, no WATCH:
-- kombu's loop of WATCH on the whole hash never ends beside busy workers (kombu#1568).
--
-- KEYS  1 unacked  2 unacked_index  3.. the lists to put it on     ARGV  1 delivery tag, 2 its record as it was read,
-- then one message per list
-- Reply 1 restored, 0 it was acknowledged or restored meanwhile. A repeat answers 0.
-- The record is written as it is before all else, because that undoes it if a list refuses its message; and before that
-- what a full Redis allows, which then refuses none of the others.

if #ARGV ~= #KEYS or #KEYS < 3 then return redis.error_reply('ERR locked_retry: malformed restore') end
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
for number = 3, #KEYS do
  local kind = redis.call('TYPE', KEYS[number]).ok
  if kind ~= 'list' and kind ~= 'none' then return redis.error_reply('WRONGTYPE ' .. KEYS[number] .. ' is no queue') end
end
redis.call('HDEL', KEYS[1], '')
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('HDEL', KEYS[1], ARGV[1])
for number = 3, #KEYS do
  local reply = redis.pcall('RPUSH', KEYS[number], ARGV[number])
  if type(reply) == 'table' then
    redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
    return reply
  end
end
if redis.call('TYPE', KEYS[2]).ok == 'zset' then redis.call('ZREM', KEYS[2], ARGV[1]) end
return 1
