-- locks.lua: who holds a business key, and who is next.

-- Whether someone else holds the lock. A holder without a running row is none (Redis lost it, or it was repaired).
local function held_by_other(name, row)
  local owner = on_ours('HGET', lock_key(name), 'o')
  if not owner or owner == row then return false end
  local state, lock = read_row(owner, 'st', 'lk')
  return state == RUNNING and lock == name
end

-- The lock is free: the message that has waited longest goes to the front of its queue, if that has one.
local MOST_STRAYS = 200 -- of one call: rows in a wait list that do not wait, because somebody has moved them by hand
local strays = 0
local function free_lock(name, row)
  if not name or name == '' or held_by_other(name, row) then return end
  redis.call('DEL', lock_key(name))
  repeat
    local waiter = on_ours('LINDEX', wait_key(name), 0)
    if not waiter then return end
    local state, lock, list, message = read_row(waiter, 'st', 'lk', 'q', 'msg')
    local woken = state == PARKED and lock == name and enqueue('RPUSH', waiter, list, message)
    redis.call('LPOP', wait_key(name))
    if woken then
      redis.call('HSET', lock_key(name), 'n', waiter)
      return
    end
    strays = strays + 1
  until strays >= MOST_STRAYS
end
