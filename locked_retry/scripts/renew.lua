-- renew.lua: leases are extended outside a turn, for a worker whose loop is busy with a task (solo pool).
--
-- KEYS  1-7 as in lib.lua     ARGV  1 prefix, 2 worker token, then per row: row, fence, lease ms, 1 if started else 0
-- Reply the rows that this worker does not hold any more. A repeat extends again and answers the same.

local lost = {}
for at = 3, #ARGV, 4 do
  if not renew(ARGV[2], ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]) then lost[#lost + 1] = ARGV[at] end
end
return lost
