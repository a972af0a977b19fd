-- fenced.lua: commands that run together if nobody with a higher fence has been here, and at most once for a named effect.
--
-- KEYS  1 where the highest fence is kept   2 the record of the effect (any key when ARGV 2 is '')
-- ARGV  1 fence   2 1 if the effect is to happen once, else ''   3 ms the fence is kept, 0 for ever   4 ms the record is kept
--       then for each command: how many words, and the words
-- Reply {outcome, highest fence, replies}; outcome applied | repeated | refused
--
-- A repeat after a lost reply: with a named effect it answers 'repeated' and runs nothing; without, the commands run
-- again (the fence is equal, not higher), so they should be such that twice is once: SET, not INCR.
-- Commands are not rolled back when a later one fails; the first write is the fence, so a Redis that refuses writes
-- refuses that one.

local FIXED = 4
local fence = tonumber(ARGV[1])
local keep_fence_ms, keep_record_ms = tonumber(ARGV[3]), tonumber(ARGV[4])
if not (fence and keep_fence_ms and keep_record_ms) then return redis.error_reply('ERR locked_retry: malformed fenced') end

local at = FIXED + 1
while at <= #ARGV do
  local words = tonumber(ARGV[at])
  if not words or words < 1 or at + words > #ARGV then return redis.error_reply('ERR locked_retry: malformed fenced') end
  at = at + 1 + words
end
local record = ARGV[2] ~= '' and redis.call('TYPE', KEYS[2]).ok or 'none'
local highest = tonumber(redis.call('GET', KEYS[1]) or '0')
if not highest then return redis.error_reply('WRONGTYPE ' .. KEYS[1] .. ' is no fence') end
if record ~= 'none' and record ~= 'string' then
  return redis.error_reply('WRONGTYPE ' .. KEYS[2] .. ' is no record of an effect')
end
local function text(number) return string.format('%.0f', number) end
if fence < highest then return { 'refused', text(highest), {} } end

-- The fence goes up also for an effect that is there already: who comes later than this holder stays refused.
if keep_fence_ms > 0 then
  redis.call('SET', KEYS[1], text(fence), 'PX', keep_fence_ms)
else
  redis.call('SET', KEYS[1], text(fence))
end
if record == 'string' then return { 'repeated', text(fence), {} } end

local replies = {}
at = FIXED + 1
while at <= #ARGV do
  local words = tonumber(ARGV[at])
  replies[#replies + 1] = redis.call(unpack(ARGV, at + 1, at + words))
  at = at + 1 + words
end
if ARGV[2] ~= '' then redis.call('SET', KEYS[2], text(fence), 'PX', keep_record_ms) end
return { 'applied', text(fence), replies }
