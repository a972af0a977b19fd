-- audit.lua: whether each row is where its state says, and each index entry has a row. Repairs when told to.
--
-- KEYS  1-7 as in lib.lua     ARGV  1 prefix, 2 '1' to repair, then names of rows (from state rows and from indexes)
-- Reply {row, what is wrong} each. A repeat finds what is still wrong: nothing, after a repair.
-- A queued row whose message is in no list is queued again: running twice is the lesser evil.

local repair = ARGV[2] == '1'
local homes = { r = LEASE, d = DELAY, x = DEAD }
local names = { [LEASE] = 'lease', [DELAY] = 'delay', [DEAD] = 'dead' }
local found = {}
for at = 3, #ARGV do
  local row = ARGV[at]
  local v = redis.call('HMGET', row_key(row), 'st', 'q', 'msg', 'lk')
  local home = homes[v[1]]
  for index, name in pairs(names) do
    local inside = redis.call('ZSCORE', index, row)
    if inside and index ~= home then
      found[#found + 1] = { row, (v[1] and 'also' or 'no row, but') .. ' in ' .. name }
      if repair then redis.call('ZREM', index, row) end
    elseif index == home and not inside then
      found[#found + 1] = { row, 'not in ' .. name }
      if repair then redis.call('ZADD', index, int(now_ms), row) end
    end
  end
  local lost = v[1] == 'q' and not redis.call('LPOS', v[2], v[3])
  lost = lost or (v[1] == 'p' and not redis.call('LPOS', P .. 'wait:' .. (v[4] or ''), row))
  if lost then
    found[#found + 1] = { row, v[1] == 'q' and 'not in its queue' or 'parked nowhere' }
    if repair then to_front(row, v[2], v[3]) end
  end
end
return found
