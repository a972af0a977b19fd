-- herd.lua: in front of turn.lua. Who listens for messages, and who looks when something is due: one, not all.
--
-- The workers that wait for the same queue lists are a herd (herd.py). Its keys, by its name:
--   watch:<herd>   string  token of the worker that listens; '-' when the one that has slept longest was called to
--   bell:<herd>    list    calls that nobody has taken: 'listen', or 'look' when there are messages
--   asleep:<herd>  zset    workers that sleep, or have not long ago -> until when they count, ms
-- and, for all together:
--   look           string  '<ms> <worker>': when something is due next, and whose turn finds it
--
-- All of them expire. They only save turns: a worker that is not the watch takes no turn while there is one, one that
-- was not told when something is due leaves it to another, and what is lost is made good soon: a call by whoever made it.

local CALLED = '-'
local CALLED_MS, ASLEEP_MS, BELL_MS = 500, 120000, 60000
local NONE, WATCH, ASLEEP = 0, 1, 2

-- Somebody else shall listen, and say so soon (wakeup.py). Calls are pushed again, so that those that nobody takes do
-- not pile up. Two workers are called when messages are left, each of which calls two more: who sleeps is awake after a
-- few steps, not after N.
local function hand_on(herd, look)
  local bell = P .. 'bell:' .. herd
  redis.call('SET', P .. 'watch:' .. herd, CALLED, 'PX', CALLED_MS)
  redis.call('DEL', bell)
  if look then
    redis.call('LPUSH', bell, 'look', 'look')
  else
    redis.call('LPUSH', bell, 'listen')
  end
  redis.call('PEXPIRE', bell, BELL_MS)
  count('handed_on')
end

-- Who listens, as seen by `me`; `told`: it was the watch, or has been called. One whose word does not expire when it
-- should is none: somebody has written it, or the clock was set back.
local function watch_of(herd, me, told, expire_ms)
  local key = P .. 'watch:' .. herd
  local holder = on_ours('GET', key)
  local left_ms = holder and redis.call('PTTL', key)
  if holder and (left_ms < 0 or left_ms > expire_ms) then holder = nil end
  if holder == me then return 'me' end
  if holder and holder ~= CALLED then return 'other' end
  if told then return 'me' end
  if not holder then return 'nobody' end
  return redis.call('EXISTS', P .. 'bell:' .. herd) == 1 and 'untaken' or 'other'
end

-- How many sleep beside `me`.
local function sleepers(herd, me)
  local key = P .. 'asleep:' .. herd
  on_ours('ZREMRANGEBYSCORE', key, '-inf', int(now_ms))
  redis.call('ZREMRANGEBYSCORE', key, '(' .. int(now_ms + ASLEEP_MS), '+inf')
  return redis.call('ZCARD', key) - (redis.call('ZSCORE', key, me) and 1 or 0)
end

local function sleep(herd, me)
  local key = P .. 'asleep:' .. herd
  local others = sleepers(herd, me)
  redis.call('ZADD', key, int(now_ms + ASLEEP_MS), me)
  redis.call('PEXPIRE', key, ASLEEP_MS)
  return ASLEEP, others
end

-- It ends: what it has promised to look at is another's now. Whether there was something.
local function break_promise(me)
  if string.match(on_ours('GET', P .. 'look') or '', '^%d+ (.*)$') ~= me then return false end
  return redis.call('DEL', P .. 'look') == 1
end

-- What `me` is in the herd that it belongs to, after its turn has claimed `found` messages; `full`: as many as it wanted,
-- so that it does not listen; `left`: a herd whose watch it no longer is. Also how many others sleep, if it does.
-- Flags: w it was the watch, a it sleeps, d it runs what it has claimed in the loop and is deaf meanwhile, e it ends, g it was
-- in the herd that it left no longer.
local function place(me, herd, flags, left, expire_ms, found, full, more)
  local function is(flag) return string.find(flags, flag, 1, true) end
  local promise = is('e') and break_promise(me)
  local was_watch = left ~= '' and watch_of(left, me, not is('g'), expire_ms) ~= 'other'
  if left ~= '' and (promise or was_watch) then hand_on(left, promise) end
  if herd == '' then return NONE, 0 end
  local watch = watch_of(herd, me, is('w'), expire_ms)
  if full or (found > 0 and is('d')) then
    if watch == 'me' or watch == 'nobody' then hand_on(herd, full and more()) end
    return NONE, 0
  end
  if watch == 'other' then return sleep(herd, me) end
  if is('a') or (found > 0 and sleepers(herd, me) > 0) then
    hand_on(herd, false)
    return sleep(herd, me)
  end
  redis.call('SET', P .. 'watch:' .. herd, me, 'PX', expire_ms)
  redis.call('DEL', P .. 'bell:' .. herd)
  return WATCH, 0
end

-- When `me` has to take a turn because something is due in `due_ms`; -1: somebody else does, or it is beyond `idle_ms`
-- and whoever comes by until then will see it; or it ends.
local function promised(me, due_ms, idle_ms, flags)
  if idle_ms == 0 or due_ms < 0 then return due_ms end
  if string.find(flags, 'e', 1, true) then return -1 end
  if due_ms >= idle_ms then return -1 end
  local at, who = string.match(on_ours('GET', P .. 'look') or '', '^(%d+) (.*)$')
  at = tonumber(at)
  if at and who ~= me and at > now_ms and at <= now_ms + due_ms then return -1 end
  redis.call('SET', P .. 'look', int(now_ms + due_ms) .. ' ' .. me, 'PX', int(due_ms + idle_ms))
  return due_ms
end
