-- leases.lua: a lease is extended.

-- The lease is extended if this worker still holds it; whether it does.
local function renew(worker, row, fence, ms, started, max_crashes)
  local state, held_fence, holder = read_row(row, 'st', 'f', 'w')
  if state ~= RUNNING or held_fence ~= fence or holder ~= worker then return false end
  redis.call('ZADD', LEASE, int(now_ms + ms), row)
  if started == '1' then redis.call('HSET', row_key(row), 's', '1', 'mc', max_crashes) end
  return true
end
