-- requeue.lua: dead letters go back to their queues, with fresh counters and a fence that keeps growing.
--
-- KEYS  1-7 as in lib.lua     ARGV  1 prefix, then pairs: row, message to queue
-- Reply the rows that went back. A repeat answers with none of them: they are no longer dead.

if #ARGV % 2 ~= 1 then return redis.error_reply('ERR locked_retry: malformed requeue') end
local moved = {}
for at = 2, #ARGV, 2 do
  local row, message = ARGV[at], ARGV[at + 1]
  local state, list = read_row(row, 'st', 'q')
  if state == BURIED and list then
    mark_row(row, OPEN)
    redis.call('HDEL', row_key(row), 'a', 'c', 'rt', 'at')
    redis.call('HSET', row_key(row), 'msg', message)
    to_front(row, list, message)
    redis.call('ZREM', DEAD, row)
    moved[#moved + 1] = row
  end
end
count('revived', #moved)
write_counts()
return moved
