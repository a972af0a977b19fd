-- audit.lua: whether each row is where its state says, and each index entry has a row. Repairs when told to.
--
-- KEYS  1-7 as in lib.lua     ARGV  1 prefix, 2 '1' to repair, then pairs:
--       a row (from state rows and from indexes), '': are its indexes right, and does somebody wake it if it is parked
--       a row, its fence or '-': under that fence it was queued or parked, and was not in its list
-- Reply {row, what is wrong} each. A repeat finds what is still wrong: nothing, after a repair.
-- A queued row whose message is in no list is queued again: running twice is the lesser evil.
--
-- Lists are read by whoever calls (audit.py): to look for each row in a list takes as long as rows times messages.
-- A row that has been claimed since has another fence; one that came back without is near one of the list's ends.

if #ARGV % 2 ~= 0 then return redis.error_reply('ERR locked_retry: malformed audit') end
local NEAR = 100
local repair = ARGV[2] == '1'
local homes = { [RUNNING] = LEASE, [DELAYED] = DELAY, [BURIED] = DEAD }
local names = { [LEASE] = 'lease', [DELAY] = 'delay', [DEAD] = 'dead' }
local found = {}

local function say(row, problem)
  found[#found + 1] = { row, problem }
  return repair
end

-- What a command finds; of a key that is something else, nothing, and true. Whoever may not look must not judge.
local function look(...)
  local reply = redis.pcall(...)
  if type(reply) ~= 'table' or not reply.err then return reply, false end
  if not string.find(reply.err, 'WRONGTYPE', 1, true) then error(reply.err) end
  return {}, true
end

local function peek(key, ...) return look('HMGET', key, ...) end

local function check_indexes(row, state)
  local home = homes[state]
  for index, name in pairs(names) do
    local inside = redis.call('ZSCORE', index, row)
    if inside and index ~= home then
      if say(row, (state and 'also' or 'no row, but') .. ' in ' .. name) then redis.call('ZREM', index, row) end
    elseif index == home and not inside then
      if say(row, 'not in ' .. name) then redis.call('ZADD', index, int(now_ms), row) end
    end
  end
end

-- Whether the lock is this row's, held or soon to be, so that it will wake those that wait for it.
local function frees(row, name, states)
  if not row then return false end
  local state, lock = unpack(peek(row_key(row), 'st', 'lk'), 1, 2)
  return state and lock == name and string.find(states, state, 1, true)
end

local function check_waker(row, name)
  local owner, woken = unpack(peek(lock_key(name), 'o', 'n'), 1, 2)
  if frees(owner, name, RUNNING) or frees(woken, name, QUEUED .. DELAYED .. RUNNING) then return end
  if say(row, 'parked, and nobody holds its lock') then free_lock(name, row) end
end

local function is_near(list, value)
  for _, rank in ipairs({ 1, -1 }) do
    local place = look('LPOS', list, value, 'RANK', rank, 'MAXLEN', NEAR)
    if place and type(place) ~= 'table' then return true end
  end
  return false
end

for at = 3, #ARGV, 2 do
  local row, missed = ARGV[at], ARGV[at + 1]
  local fields, is_none = peek(row_key(row), 'st', 'q', 'msg', 'lk', 'f')
  local state, list, message, lock, fence = unpack(fields, 1, 5)
  if is_none and say(row, 'is no row') then redis.call('UNLINK', row_key(row)) end
  local queued, parked = state == QUEUED, state == PARKED
  if missed == '' then
    check_indexes(row, state)
    if parked and lock then check_waker(row, lock) end
  elseif (fence or '-') == missed and (queued or parked) then
    local place, value = queued and list or wait_key(lock or ''), queued and message or row
    if not is_near(place, value) and say(row, queued and 'not in its queue' or 'parked nowhere') then
      to_front(row, list, message)
    end
  end
end
if repair then write_counts() end
return found
