-- claim.lua: put behind turn.lua, whose second half it is: which messages are claimed, and the answer.

local function decode(raw)
  local ok, message = pcall(cjson.decode, raw or '')
  if ok and type(message) == 'table' then return message end
end

local function retries_in(message)
  local headers = message and message.headers
  return type(headers) == 'table' and tonumber(headers.retries) or 0
end

-- The row a message belongs to. A message that locked_retry wrote for a retry names it, for exactly that generation.
local function identify(raw)
  local message = decode(raw)
  if not message then -- the worker may read it: half a surrogate pair, nested too deep
    local row = 'raw-' .. redis.sha1hex(raw)
    return {}, row, row
  end
  local headers = type(message.headers) == 'table' and message.headers or {}
  local properties = type(message.properties) == 'table' and message.properties or {}
  local tag = type(properties.delivery_tag) == 'string' and properties.delivery_tag or redis.sha1hex(raw)
  if type(headers.id) ~= 'string' then return headers, tag, tag end
  local retries, nesting = tonumber(headers.retries) or 0, tonumber(headers.replaced_task_nesting) or 0
  if type(headers.lr) == 'string' then
    local generation = int(retries) .. '~' .. int(nesting) .. '~'
    if string.sub(headers.lr, 1, #generation) == generation then
      return headers, string.sub(headers.lr, #generation + 1), tag
    end
  end
  if retries == 0 and nesting == 0 then return headers, headers.id, tag end
  return headers, headers.id .. '~' .. int(retries) .. '~' .. int(nesting), tag
end

local fence = tonumber(redis.call('GET', FENCE) or '0') or 0
local lease_end = int(now_ms + lease_ms)

local function drop()
  seen.dropped = seen.dropped + 1
  count('dropped')
end

-- Which submission of its task id a message is: what its producer says, and its queue, because a message that is routed
-- to two queues is to run in both. Of those that say nothing the second one in a queue is a repeat.
local queue_marks = {}
local function submission_of(headers, list)
  if not queue_marks[list] then
    local queue = string.match(list, '^(.-)\6\22%d+$') or list -- without its priority
    queue_marks[list] = '@' .. string.sub(redis.sha1hex(queue), 1, 6)
  end
  local said = type(headers.lr_new) == 'string' and string.match(headers.lr_new, '^%w+$') or ''
  return string.sub(said, 1, LONGEST_SUBMISSION) .. queue_marks[list], said ~= ''
end

local function beside(row, submission) return row .. '#' .. submission end

-- Whether a submission is complete: under the row of its task id, or under the row that it had beside another one's.
local function was_completed(row, submission, says)
  local records = redis.call('MGET', done_key(row), done_key(beside(row, submission))) -- false for what is no string
  if not (records[1] or records[2]) then return false end
  for number = 1, 2 do
    local by, submissions = read_record(records[number])
    if by and string.find(submissions, ' ' .. submission .. ' ', 1, true) then return true end
    if by and submissions == '' and not says then return true end -- of an older version
  end
  return false
end

-- The end of this row was stopped after its completion record had been written: what is left of it has no other use.
local function forget_completed(row, submission)
  local state, its_submission, shard = read_row(row, 'st', 'nw', 'jb')
  if state ~= QUEUED or its_submission ~= submission then return end
  if shard then mark(shard, DONE) end
  redis.call('DEL', row_key(row))
end

local function read_claimed(row) return read_row(row, 'st', 'tag', 'msg', 'c', 'rt', 'pk', 'nw', 'mc') end

-- `raw` is still in its list. Returns a lock that has to be freed when it no longer is, and for which row.
local function claim(raw, number)
  local list = KEYS[7 + number]
  local headers, row, tag = identify(raw)
  local submission, says = submission_of(headers, list)
  if was_completed(row, submission, says) then
    forget_completed(row, submission)
    return drop()
  end
  local state, its_tag, its_message, crashes, returns, was_parked, its_submission, limit = read_claimed(row)
  if its_submission and its_submission ~= submission and type(headers.lr) ~= 'string' then
    row = beside(row, submission) -- that is another submission, which has not ended yet
    state, its_tag, its_message, crashes, returns, was_parked, its_submission, limit = read_claimed(row)
  end
  local key = row_key(row)
  if state and state ~= QUEUED then return drop() end
  -- A second message for what is queued: the other one is dropped when its turn comes, unless it is the later attempt.
  if state and its_tag ~= tag and retries_in(decode(its_message)) > retries_in({ headers = headers }) then return drop() end
  local name = type(headers.lr_lock) == 'string' and headers.lr_lock or ''
  submission = its_submission or submission
  if name ~= '' and held_by_other(name, row) then
    on_ours(was_parked and 'LPUSH' or 'RPUSH', wait_key(name), row)
    redis.call('HSET', key, 'st', PARKED, 'msg', raw, 'q', list, 'tag', tag, 'nw', submission, 'lk', name, 'pk', '1')
    seen.parked = seen.parked + 1
    return count('parked')
  end
  if (tonumber(crashes) or 0) >= (tonumber(limit) or max_crashes) then -- found by a worker that does not serve its queue
    redis.call('HSET', key, 'msg', raw, 'q', list, 'nw', submission)
    bury_unasked(row, 'its worker died or was lost')
    return name, row -- it may have been woken for it
  end
  fence = math.max(fence + 1, now_us)
  local token = int(fence)
  redis.call('ZADD', LEASE, lease_end, row)
  redis.call('HSET', key, 'st', RUNNING, 'msg', raw, 'q', list, 'tag', tag, 'nw', submission, 'f', token, 'w', me,
    'tn', turn)
  if name ~= '' then
    redis.call('HSET', key, 'lk', name)
    redis.call('HSET', lock_key(name), 'o', row, 'f', token)
  end
  if type(headers.lr_job) == 'string' then redis.call('HSET', key, 'jb', headers.lr_job) end
  claims[#claims + 1] = { row, token, tonumber(crashes) or 0, tonumber(returns) or 0, number, raw }
end

-- What is popped without being claimed (duplicates, what is parked) is work, too: the next turn goes on.
local want_pops = want + POPS_BESIDE

-- Of these an operator has said that nothing is to be claimed (queues.py): list -> when, and its queue.
local paused, paused_lists = {}, {}
local function read_paused()
  local found = on_ours('HGETALL', P .. 'paused')
  for at = 1, #found, 2 do paused[found[at]] = true end
  for number = 8, #KEYS do
    if paused[KEYS[number]] then paused_lists[#paused_lists + 1] = KEYS[number] end
  end
end

-- What is claimed stays in its list until `remove`, which takes all of it at once.
local asked = {}
local function look(list, taken)
  if broken_lists[list] or paused[list] then return false end
  local raw = not asked[list] and redis.pcall('LTRIM', list, 0, -1) -- of none: what is claimed has to go
  asked[list] = true
  if not raw or not raw.err then raw = redis.pcall('LINDEX', list, -1 - taken) end
  if type(raw) ~= 'table' then return raw end
  broken_lists[list] = true
  count('broken')
  return false
end

local function remove(list, taken)
  if taken > 0 then redis.call('LTRIM', list, 0, -1 - taken) end
  return 0
end

-- Every queue of a priority gets its share before any gets more; or they are emptied in the order of their KEYS.
local function claim_all()
  for base = 0, #KEYS - 7 - queues, queues do
    local progress = true
    while progress and #claims < want do
      progress = false
      for offset = 0, queues - 1 do
        local number = base + 1 + offset
        local list, taken = KEYS[7 + number], 0
        local share = want - #claims
        if fair == 1 then share = math.min(math.ceil(share / (queues - offset)), 100) end
        for _ = 1, share do
          if want_bytes <= 0 or want_pops <= 0 then
            seen.more = 1
            break
          end
          local raw = look(list, taken)
          if not raw then break end
          progress, want_pops, want_bytes, taken = true, want_pops - 1, want_bytes - #raw, taken + 1
          local name, row = claim(raw, number)
          if name then -- who is woken goes to the end that is claimed from
            taken = remove(list, taken)
            free_lock(name, row)
          end
        end
        remove(list, taken)
        if seen.more == 1 then return end
      end
    end
  end
end

local function claimed_before()
  local number_of = {}
  for number = 1, #KEYS - 7 do number_of[KEYS[7 + number]] = number end
  for _, row in ipairs(decode(redis.call('HGET', WORKER, 'rows')) or {}) do
    local state, holder, its_turn, held_fence, crashes, returns, list, raw =
      read_row(row, 'st', 'w', 'tn', 'f', 'c', 'rt', 'q', 'msg')
    if state == RUNNING and holder == me and its_turn == turn then
      claims[#claims + 1] = { row, held_fence, tonumber(crashes) or 0, tonumber(returns) or 0, number_of[list] or 0, raw }
    end
  end
end

local function buried_before()
  for _, row in ipairs(decode(redis.call('HGET', WORKER, 'buried')) or {}) do
    local state, reason, message = read_row(row, 'st', 'err', 'msg')
    if state == BURIED then buried[#buried + 1] = { row, reason, message } end
  end
end

local function names(of)
  local rows = {}
  for number, one in ipairs(of) do rows[number] = one[1] end
  return cjson.encode(rows)
end

local function messages_left()
  for number = 8, #KEYS do
    local list = KEYS[number]
    if not broken_lists[list] and not paused[list] and redis.call('EXISTS', list) == 1 then return true end
  end
  return false
end

local replay = redis.call('HGET', WORKER, 'tn') == turn
local role, sleepers_beside = nil, 0
local at = FIXED
if replay then
  codes = { redis.call('HGET', WORKER, 'codes') or '' }
  at = at + 7 * settles
else
  for number = 1, settles do
    local delay_ms = tonumber(ARGV[at + 4])
    codes[number] = settle(ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], delay_ms, ARGV[at + 5], ARGV[at + 6], ARGV[at + 7])
    at = at + 7
  end
  end_leases()
end
for _ = 1, renewals do
  local row = ARGV[at + 1]
  if not renew(me, row, ARGV[at + 2], ARGV[at + 3], ARGV[at + 4], ARGV[at + 5]) then lost[#lost + 1] = row end
  at = at + 5
end
read_paused()
if replay then
  claimed_before()
  buried_before()
  role = tonumber(redis.call('HGET', WORKER, 'role')) or NONE
  count('replays')
else
  promote()
  if may_reap() then reap() end
  if want > 0 then claim_all() end
  trim()
  if #claims > 0 then
    redis.call('SET', FENCE, int(fence))
    count('claimed', #claims)
  end
  write_buckets()
  local full = #claims + seen.dropped + seen.parked >= want or seen.more == 1
  role, sleepers_beside = place(me, ARGV[17], ARGV[18], ARGV[19], 2 * idle_ms + 500, #claims, full, messages_left)
  redis.call('HSET', WORKER, 'tn', turn, 'codes', table.concat(codes), 'rows', names(claims), 'buried', names(buried))
  redis.call('HSET', WORKER, 'role', role)
  redis.call('PEXPIRE', WORKER, 3600000)
end
write_counts()

local due_ms = -1
for index, not_before in pairs({ [DELAY] = 0, [LEASE] = reap_after }) do
  local head = redis.call('ZRANGE', index, 0, 0, 'WITHSCORES')[2]
  head = head and math.max(head, not_before)
  if head and (due_ms < 0 or head - now_ms < due_ms) then due_ms = math.max(0, head - now_ms) end
end
local counted = { seen.promoted, seen.reaped, seen.dropped, seen.parked, seen.more, seen.trimmed }
local broken = {}
for list in pairs(broken_lists) do broken[#broken + 1] = list end
due_ms = promised(me, due_ms, idle_ms, ARGV[18])
return { now_ms, due_ms, table.concat(codes), lost, claims, counted, buried, broken, role, sleepers_beside,
  paused_lists }
