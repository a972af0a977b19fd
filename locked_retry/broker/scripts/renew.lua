-- renew.lua: leases are extended outside a turn, for a worker whose loop is busy with a task (solo pool).
--
-- KEYS  1-7 as in lib.lua     ARGV  1 prefix, 2 worker token, then per row: row, fence, lease ms, 1 if started else 0,
--       max crashes
-- Reply the rows that this worker does not hold any more. A repeat extends again and answers the same.

if #ARGV % 5 ~= 2 then return redis.error_reply('ERR locked_retry: malformed renew') end
for at = 5, #ARGV, 5 do
  if not tonumber(ARGV[at]) then return redis.error_reply('ERR locked_retry: malformed renew') end
end
local lost = {}
for at = 3, #ARGV, 5 do
  local row = ARGV[at]
  if not renew(ARGV[2], row, ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]) then lost[#lost + 1] = row end
end
write_counts()
return lost
