-- moves.lua: a row's message into a queue, to the front of one, or among the dead letters.

local BROKEN_PAUSE_MS = 30000

local function bury(row, reason)
  redis.call('ZADD', DEAD, int(now_ms), row)
  redis.call('HSET', row_key(row), 'st', BURIED, 'err', reason, 'at', int(now_ms), 'w', '')
  mark_row(row, FELL)
  count('dead')
end

-- Into a queue, by RPUSH (to be consumed next) or LPUSH; whether it is there. A queue that is no list is tried again later.
local broken_lists = {}
local function enqueue(push, row, list, message)
  if not list or not message then
    bury(row, 'somebody has been at its row')
    return false
  end
  redis.call('HSET', row_key(row), 'st', QUEUED)
  if type(redis.pcall(push, list, message)) ~= 'table' then return true end
  redis.call('ZADD', DELAY, int(now_ms + BROKEN_PAUSE_MS), row)
  redis.call('HSET', row_key(row), 'st', DELAYED)
  broken_lists[list] = true
  count('broken')
  return false
end

-- To the end of the queue that is consumed next, as kombu puts back what it restores; whether it is there.
local function to_front(row, list, message)
  redis.call('HSET', row_key(row), 'w', '')
  redis.call('HDEL', row_key(row), 's')
  return enqueue('RPUSH', row, list, message)
end
