-- submit.lua: a chunk of new messages into their queues, each task id once. All or nothing.
--
-- KEYS  1-7 as in lib.lua; 8.. queue lists
-- ARGV  1 prefix   2 token of the chunk   3 ms a mark lives   4 number of messages
--       then for each queue list: ms until it expires (x-expires), or 0
--       then for each message: task id, message, numbers of the lists it goes to ('1', '1 4'; they count from 1)
-- Reply one letter per message: a accepted; the others are duplicates: s submitted before, w the workers have it
--       (queued again, running, delayed, dead), c completed, t twice in this chunk
--
-- A mark, sub:<task id>, says which message of which chunk put the task into its queue, for as long as no worker has
-- given it a row. So a repeat after a lost reply (same token) is answered as the first was: marked as ours is accepted,
-- whatever became of the task since, all else is a duplicate, and nothing is written.
--
-- Every refusal (OOM, READONLY, MISCONF, a queue's name taken by another type) comes from the first LPUSH of a list,
-- which is undone for the lists before it: nothing has changed then.

local FIXED = 4
local token, mark_ms, messages = ARGV[2], ARGV[3], tonumber(ARGV[4])
local lists = #KEYS - 7
if not messages or messages < 1 or #ARGV ~= FIXED + lists + 3 * messages then
  return redis.error_reply('ERR locked_retry: malformed submit')
end

local first = FIXED + lists
local ids, mark_keys, known_keys = {}, {}, {}
for number = 1, messages do
  local id = ARGV[first + 3 * number - 2]
  ids[number], mark_keys[number] = id, P .. 'sub:' .. id
  known_keys[2 * number - 1], known_keys[2 * number] = row_key(id), done_key(id)
end
local marks = redis.call('MGET', unpack(mark_keys))
local any_known = redis.call('EXISTS', unpack(known_keys)) > 0

local function mine(number) return token .. '/' .. number end

local replay = false
for number = 1, messages do replay = replay or marks[number] == mine(number) end

local seen = {}
local function verdict(number)
  local id = ids[number]
  if seen[id] then return 't' end
  seen[id] = true
  if marks[number] == mine(number) then return 'a' end
  if any_known and completed(id) then return 'c' end
  if any_known and read_row(id, 'st') then return 'w' end
  return (marks[number] or replay) and 's' or 'a'
end

local codes, accepted, batches = {}, 0, {}
for number = 1, messages do
  codes[number] = verdict(number)
  if codes[number] == 'a' then
    accepted = accepted + 1
    for list in string.gmatch(ARGV[first + 3 * number], '%d+') do
      if not KEYS[7 + list] then return redis.error_reply('ERR locked_retry: malformed submit') end
      local batch = batches[list] or {}
      batch[#batch + 1] = ARGV[first + 3 * number - 1]
      batches[list] = batch
    end
  end
end
if replay or accepted == 0 then return table.concat(codes) end

local pushed = {}
for list, batch in pairs(batches) do
  local key = KEYS[7 + list]
  local reply = redis.pcall('LPUSH', key, unpack(batch))
  if type(reply) == 'table' then
    for before, count_before in pairs(pushed) do redis.call('LPOP', before, count_before) end
    return reply
  end
  pushed[key] = #batch
end
for list = 1, lists do
  if ARGV[FIXED + list] ~= '0' then redis.call('PEXPIRE', KEYS[7 + list], ARGV[FIXED + list]) end
end
for number = 1, messages do
  if codes[number] == 'a' then redis.call('SET', mark_keys[number], mine(number), 'PX', mark_ms) end
end
count('submitted', accepted)
write_counts()
return table.concat(codes)
