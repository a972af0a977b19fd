-- release.lua: delayed messages go to the front of their queues before they are due, in the words of whoever asks.
--
-- KEYS  1-7 as in lib.lua     ARGV  1 prefix, then triples: row, SHA-1 of the message that was seen, message to queue
-- Reply the rows that went. A repeat answers with none of them: they are no longer delayed. Nor with those that have
-- run, and wait with another message, since they were seen.

if #ARGV % 3 ~= 1 then return redis.error_reply('ERR locked_retry: malformed release') end
local released = {}
redis.call('HDEL', WORKER, '-') -- what a full Redis allows comes first: it then refuses none of the others
for at = 2, #ARGV, 3 do
  local row, seen, message = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local state, list, kept = read_row(row, 'st', 'q', 'msg')
  if state == DELAYED and list and kept and redis.sha1hex(kept) == seen then
    redis.call('HSET', row_key(row), 'msg', message)
    if to_front(row, list, message) then redis.call('ZREM', DELAY, row) end
    released[#released + 1] = row
  end
end
count('released', #released)
write_counts()
return released
