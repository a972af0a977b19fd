-- purge.lua: dead letters are deleted for good.
--
-- KEYS  1-7 as in lib.lua     ARGV  1 prefix, then rows
-- Reply the rows that were deleted. A repeat answers with none of them.

local gone = {}
for at = 2, #ARGV do
  local row = ARGV[at]
  if on_ours('HGET', row_key(row), 'st') == BURIED then
    redis.call('DEL', row_key(row))
    redis.call('ZREM', DEAD, row)
    gone[#gone + 1] = row
  end
end
count('purged', #gone)
write_counts()
return gone
