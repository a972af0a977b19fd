-- turn.lua: one turn of a worker's loop, in one call: settle, renew, promote, reap, claim. All or nothing.
--
-- KEYS  1-7 as in lib.lua; 8.. the queue lists to claim from: for each priority (best first) every queue
-- ARGV  1 prefix   2 worker token   3 turn number   4 how many to claim   5 most bytes to claim   6 lease, ms
--       7 ms a completion record lives   8 most rows to promote, and to reap   9 number of queues   10 1 if each gets its share
--       11 max crashes   12 number of settles S   13 number of renewals R   14 ms a dead letter is kept   15 most dead letters
--       16 longest time without a turn, ms, or 0: see herd.lua, as for 17 its herd or ''   18 flags   19 herd it left or ''
--       then S times: row, fence, kind, delay ms, reason, new message or '', retry budget or ''
--            kind ok | final | retry | dead | requeue | return | snooze | crash; final is a failure that is not kept; crash
--            carries its max crashes in front of the reason: '3 text'
--            retry budget 'tokens:refill:ms': the bucket's size, what a success adds to it, how long a retry without a token waits
--       then R times: row, fence, lease ms, 1 if started else 0, max crashes
-- Reply {server time ms, ms until something is due that it has to see to or -1, codes, lost rows, claims,
--        {promoted, reaped, dropped, parked, more, trimmed}, buried, broken lists, role in its herd, sleepers beside it,
--        paused lists}
--       codes: one letter per settle: o applied, h applied and held back by the retry budget, d applied before (by you),
--              x applied and now dead, s refused as stale
--       claims: {row, fence, crashes, returns, number of the KEY among the queue lists, message} each
--       buried: {row, reason, message} of each message that became a dead letter without its holder having said so
--       more: 1 if claiming stopped at a limit beside what was wanted; there may be more
--       trimmed: dead letters that were too old or too many, and are gone
--       broken lists, paused lists: those of its queue lists that are no lists, or that an operator has paused
--
-- Repeat after a lost reply (same worker token and turn number): nothing is done again; the first codes and those of
-- the first claims that are still held and of the buried that are still dead are answered, as the first role; renewals
-- are (harmlessly) renewed. If the worker's record is gone too, a settle that was applied answers d, found by the fence that the row or
-- its completion record kept.
--
-- The first write is one that a full Redis allows (HDEL); Redis then refuses none of the others, so that a Redis at
-- maxmemory can still be drained. Everything that can be refused (READONLY, MISCONF, BUSY, LOADING) is refused there,
-- before anything has changed.

-- What a call does at most: the settles that a worker sends (session.py), the renewals of what it holds (3 us each), 100
-- rows promoted and as many reaped, pops as many as wanted and 60 beside, of as many bytes as wanted and the message that
-- exceeds them; dead letters trimmed as many as it makes and 10 beside. More is left to the next turn, which the reply asks
-- for: by what is due, or by `more`.

local FIXED = 19
local POPS_BESIDE = 60
local TRIMMED_BESIDE = 10
local STALL_MS = 3000 -- workers take a turn each idle_s, which is a second
local LONGEST_SUBMISSION = 64
local MOST_SUBMISSIONS = 16 -- of one task id, remembered for as long as its completion record lives
local me, turn = ARGV[2], ARGV[3]
local want, want_bytes, lease_ms, done_ms = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local most, queues, fair = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local max_crashes, settles, renewals = tonumber(ARGV[11]), tonumber(ARGV[12]), tonumber(ARGV[13])
local keep_ms, most_dead, idle_ms = tonumber(ARGV[14]), tonumber(ARGV[15]), tonumber(ARGV[16])
if not (want and want_bytes and lease_ms and done_ms and most and queues and fair and max_crashes and settles and renewals
    and keep_ms and most_dead and idle_ms)
    or #ARGV ~= FIXED + 7 * settles + 5 * renewals or (want > 0 and (queues < 1 or (#KEYS - 7) % queues ~= 0)) then
  return redis.error_reply('ERR locked_retry: malformed turn')
end
for _, ms in ipairs({ lease_ms, done_ms, keep_ms, idle_ms }) do
  if not (ms >= 0 and ms <= LONGEST_MS) then return redis.error_reply('ERR locked_retry: a time that is none') end
end
local BUDGET = '^([%d.]+):([%d.]+):(%d+)$'
local KINDS = { ok = 1, final = 1, retry = 1, dead = 1, requeue = 1, ['return'] = 1, snooze = 1, crash = 1 }
for at = FIXED, FIXED + 7 * settles - 1, 7 do
  local budget = ARGV[at + 7]
  local delay_ms = tonumber(ARGV[at + 4])
  if not KINDS[ARGV[at + 3]] or not delay_ms or not (delay_ms >= 0 and delay_ms <= LONGEST_MS) or (budget ~= '' and not string.match(budget, BUDGET)) then
    return redis.error_reply('ERR locked_retry: malformed settle')
  end
end
for at = FIXED + 7 * settles, #ARGV - 1, 5 do
  local ms = tonumber(ARGV[at + 3])
  if not ms or not (ms >= 0 and ms <= LONGEST_MS) then
    return redis.error_reply('ERR locked_retry: malformed renewal')
  end
end

local codes, lost, claims, buried = {}, {}, {}, {}
local seen = { promoted = 0, reaped = 0, dropped = 0, parked = 0, more = 0, trimmed = 0 }
redis.call('HDEL', WORKER, '-')

local function stale(row, fence, kind)
  redis.call('LPUSH', STALE, table.concat({ row, fence, kind, int(now_ms) }, ' '))
  redis.call('LTRIM', STALE, 0, 999)
  count('stale')
  return 's'
end

local served = {}
for number = 8, #KEYS do served[KEYS[number]] = true end

local function bury_unasked(row, reason)
  bury(row, reason)
  buried[#buried + 1] = { row, reason, redis.call('HGET', row_key(row), 'msg') }
end

-- A worker buries what is its application's to fail: who serves the queue does it, when it is claimed once more.
local function crashed(row, crashes, limit, reason, list)
  redis.call('HSET', row_key(row), 'c', crashes)
  count('crashes')
  if crashes >= limit and (not list or served[list]) then
    bury_unasked(row, reason)
    return true
  end
  return false
end

-- Retry budgets: a bucket of tokens for each queue list that a success fills a little and a retry takes one from. When
-- most of what runs fails, retries become rare by themselves, instead of multiplying the load on whatever is down.
local buckets = {}
local function bucket(list, budget)
  local size, refill, wait_ms = string.match(budget, BUDGET)
  local key = P .. 'budget:' .. (list or '')
  buckets[key] = buckets[key] or { tokens = tonumber(on_ours('GET', key) or size) or 0, size = tonumber(size) }
  return buckets[key], tonumber(refill), tonumber(wait_ms)
end

local function write_buckets()
  for key, one in pairs(buckets) do
    if one.tokens >= one.size then
      redis.call('DEL', key) -- absent is full
    else
      redis.call('SET', key, string.format('%.3f', one.tokens), 'PX', 86400000)
    end
  end
end

-- It came back unstarted; whether that was once too often.
local function returned(row, returns, reason)
  redis.call('HSET', row_key(row), 'rt', returns)
  if returns < MAX_RETURNS then return false end
  bury_unasked(row, 'came back unstarted too often' .. reason)
  return true
end

local function delay(row, due_ms, message)
  redis.call('ZADD', DELAY, int(now_ms + due_ms), row)
  if message ~= '' then redis.call('HSET', row_key(row), 'msg', message) end
  redis.call('HDEL', row_key(row), 's')
  redis.call('HSET', row_key(row), 'st', DELAYED, 'w', '')
end

local function remembered(fence, submissions, one)
  if submissions == '' and one then return fence .. ' ' .. one .. ' ' end
  local kept = {}
  for each in string.gmatch(submissions or '', '%S+') do
    if each ~= one then kept[#kept + 1] = each end
  end
  if one then kept[#kept + 1] = one end
  if #kept == 0 then return fence end
  return fence .. ' ' .. table.concat(kept, ' ', math.max(1, #kept - MOST_SUBMISSIONS + 1)) .. ' '
end

local settled = {}
local function settle(row, fence, kind, delay_ms, reason, message, budget)
  local key = row_key(row)
  local state, held_fence, holder, last_fence, lock, attempts, crashes, list, kept, shard, returns, submission =
    read_row(row, 'st', 'f', 'w', 'lf', 'lk', 'a', 'c', 'q', 'msg', 'jb', 'rt', 'nw')
  if state ~= RUNNING or held_fence ~= fence or holder ~= me then
    local before = last_fence == fence or (not state and completed(row) == fence)
    return before and 'd' or stale(row, fence, kind)
  end
  local code = 'o'
  if kind == 'ok' or kind == 'final' then
    if not redis.call('SET', done_key(row), remembered(fence, '', submission), 'PX', done_ms, 'NX') then -- another submission of its task id
      local _, submissions = completed(row)
      redis.call('SET', done_key(row), remembered(fence, submissions, submission), 'PX', done_ms)
    end
    if shard then mark(shard, kind == 'ok' and DONE or FELL) end
    redis.call('DEL', key)
    if kind == 'ok' and budget ~= '' then
      local one, refill = bucket(list, budget)
      one.tokens = math.min(one.size, one.tokens + refill)
    end
  else
    redis.call('HSET', key, 'lf', fence, 'err', reason)
    if kind == 'retry' then
      local one, _, wait_ms
      if budget ~= '' then one, _, wait_ms = bucket(list, budget) end
      if one and one.tokens < 1 then -- the same attempt again, much later: it costs none
        delay(row, math.max(delay_ms, wait_ms), '')
        count('held_back')
        code = 'h'
      else
        if one then one.tokens = one.tokens - 1 end
        redis.call('HSET', key, 'a', (tonumber(attempts) or 0) + 1)
        delay(row, delay_ms, message)
      end
    elseif kind == 'snooze' then
      delay(row, delay_ms, message)
    elseif kind == 'dead' then
      bury(row, reason)
    elseif kind == 'crash' then
      local limit, text = string.match(reason, '^(%d+) ?(.*)$')
      if limit then redis.call('HSET', key, 'mc', limit) end
      if crashed(row, (tonumber(crashes) or 0) + 1, tonumber(limit) or max_crashes, text or reason) then
        code = 'x'
      else
        delay(row, delay_ms, message)
      end
    elseif kind == 'return' then
      if returned(row, (tonumber(returns) or 0) + 1, ': ' .. reason) then
        code = 'x'
      else
        delay(row, delay_ms, message)
      end
    else
      if message ~= '' then redis.call('HSET', key, 'msg', message) end
      to_front(row, list, message ~= '' and message or kept)
    end
  end
  settled[#settled + 1] = row
  free_lock(lock, row)
  if kind ~= 'dead' then count(kind) end -- bury() has counted it
  return code
end

local function end_leases()
  for from = 1, #settled, 1000 do
    redis.call('ZREM', LEASE, unpack(settled, from, math.min(from + 999, #settled)))
  end
end

local function promote()
  for _, row in ipairs(redis.call('ZRANGEBYSCORE', DELAY, '-inf', int(now_ms), 'LIMIT', 0, most)) do
    local state, list, message, lock = read_row(row, 'st', 'q', 'msg', 'lk')
    if state == DELAYED and not enqueue('LPUSH', row, list, message) then
      free_lock(lock, row) -- it may have been woken for its lock: others wait behind it
    else
      redis.call('ZREM', DELAY, row)
      if state == DELAYED then seen.promoted = seen.promoted + 1 end
    end
  end
end

-- The oldest dead letters go when they are too old, or too many: at least as many as this turn has made.
local function trim()
  local too_many = redis.call('ZCARD', DEAD) - most_dead
  for _ = 1, TRIMMED_BESIDE + (tally.dead or 0) do
    local row, died_ms = unpack(redis.call('ZRANGE', DEAD, 0, 0, 'WITHSCORES'))
    if not row or (too_many <= 0 and now_ms - died_ms <= keep_ms) then break end
    too_many = too_many - 1
    redis.call('ZREM', DEAD, row)
    if read_row(row, 'st') == BURIED then
      redis.call('DEL', row_key(row))
      seen.trimmed = seen.trimmed + 1
    end
  end
  if seen.trimmed > 0 then count('dead_trimmed', seen.trimmed) end
end

-- After so long without a turn of anybody's the leases that ended meanwhile are no evidence: Redis stood still, its clock
-- was set forward, or the whole fleet was away. Whoever lives renews within a third of a lease; half of one is waited for.
local reap_after = 0
local function may_reap()
  local last_turn, not_before = unpack(on_ours('HMGET', P .. 'clock', 'turn', 'reap'), 1, 2)
  local last = tonumber(last_turn) or now_ms
  reap_after = tonumber(not_before) or 0
  if now_ms - last > STALL_MS and now_ms > reap_after + 2 * lease_ms then
    reap_after = math.floor(now_ms + lease_ms / 2)
    count('stalls')
  elseif reap_after > now_ms + lease_ms then
    reap_after = 0 -- the clock was set back
  end
  redis.call('HSET', P .. 'clock', 'turn', int(now_ms), 'reap', int(reap_after))
  return now_ms >= reap_after
end

local function reap()
  for _, row in ipairs(redis.call('ZRANGEBYSCORE', LEASE, '-inf', int(now_ms), 'LIMIT', 0, most)) do
    local state, started, crashes, returns, limit, list, message, lock =
      read_row(row, 'st', 's', 'c', 'rt', 'mc', 'q', 'msg', 'lk')
    if state == RUNNING then
      seen.reaped = seen.reaped + 1
      local dead
      if started == '1' then
        limit = tonumber(limit) or max_crashes
        dead = crashed(row, (tonumber(crashes) or 0) + 1, limit, 'its worker died or was lost', list)
      else
        dead = returned(row, (tonumber(returns) or 0) + 1, '')
      end
      if not dead then to_front(row, list, message) end
      free_lock(lock, row)
    end
    redis.call('ZREM', LEASE, row)
  end
  if seen.reaped > 0 then count('reaped', seen.reaped) end
end
