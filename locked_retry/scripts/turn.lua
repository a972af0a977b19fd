-- turn.lua: one turn of a worker's loop, in one call: settle, renew, promote, reap, claim. All or nothing.
--
-- KEYS  1-7 as in lib.lua; 8.. the queue lists to claim from: for each priority (best first) every queue
-- ARGV  1 prefix   2 worker token   3 turn number   4 how many to claim   5 most bytes to claim   6 lease, ms
--       7 ms a completion record lives   8 most rows to promote, and to reap   9 number of queues   10 queue to begin with
--       11 max crashes   12 number of settles S   13 number of renewals R
--       then S times: row, fence, kind, delay ms, reason, new message or '', retry budget or ''
--            kind ok | retry | dead | requeue | snooze | crash; crash carries its max crashes in front of the reason: '3 text'
--            retry budget 'tokens:refill:ms': the bucket's size, what a success adds to it, how long a retry without a token waits
--       then R times: row, fence, lease ms, 1 if started else 0
-- Reply {server time ms, ms until something is due or -1, codes, lost rows, claims, {promoted, reaped, dropped, parked}, buried}
--       codes: one letter per settle: o applied, h applied and held back by the retry budget, d applied before (by you),
--              x applied and now dead, s refused as stale
--       claims: {row, fence, crashes, returns, number of the KEY among the queue lists, message} each
--       buried: {row, reason, message} of each message that became a dead letter without its holder having said so
--
-- Repeat after a lost reply (same worker token and turn number): nothing is done again; the first codes and those of
-- the first claims that are still held and of the buried that are still dead are answered, renewals are (harmlessly)
-- renewed. If the worker's record is gone too, a settle that was applied answers d, found by the fence that the row or
-- its completion record kept.
--
-- The first write is one that a full Redis allows (HDEL); Redis then refuses none of the others, so that a Redis at
-- maxmemory can still be drained. Everything that can be refused (READONLY, MISCONF, BUSY, LOADING) is refused there,
-- before anything has changed.

local FIXED = 13
local me, turn = ARGV[2], ARGV[3]
local want, want_bytes, lease_ms, done_ms = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local most, queues, first = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local settles, renewals = tonumber(ARGV[12]), tonumber(ARGV[13])
if not (want and want_bytes and lease_ms and done_ms and most and queues and first and settles and renewals)
    or #ARGV ~= FIXED + 7 * settles + 4 * renewals or (want > 0 and (queues < 1 or (#KEYS - 7) % queues ~= 0)) then
  return redis.error_reply('ERR locked_retry: malformed turn')
end

local codes, lost, claims, buried = {}, {}, {}, {}
local seen = { promoted = 0, reaped = 0, dropped = 0, parked = 0 }
redis.call('HDEL', WORKER, '-')

local function stale(row, fence, kind)
  redis.call('LPUSH', STALE, table.concat({ row, fence, kind, int(now_ms) }, ' '))
  redis.call('LTRIM', STALE, 0, 999)
  count('stale')
  return 's'
end

local function bury_unasked(row, reason)
  bury(row, reason)
  buried[#buried + 1] = { row, reason, redis.call('HGET', row_key(row), 'msg') }
end

local function crashed(row, crashes, limit, reason)
  redis.call('HSET', row_key(row), 'c', crashes)
  count('crashes')
  if crashes >= limit then
    bury_unasked(row, reason)
    return true
  end
  return false
end

-- Retry budgets: a bucket of tokens for each queue list that a success fills a little and a retry takes one from. When
-- most of what runs fails, retries become rare by themselves, instead of multiplying the load on whatever is down.
local buckets = {}
local function bucket(list, budget)
  local size, refill, wait_ms = string.match(budget, '^([%d.]+):([%d.]+):(%d+)$')
  local key = P .. 'budget:' .. list
  buckets[key] = buckets[key] or { tokens = tonumber(redis.call('GET', key) or size), size = tonumber(size) }
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

local function delay(row, due_ms, message)
  redis.call('HSET', row_key(row), 'st', 'd', 'w', '')
  redis.call('HDEL', row_key(row), 's')
  if message ~= '' then redis.call('HSET', row_key(row), 'msg', message) end
  redis.call('ZADD', DELAY, int(now_ms + due_ms), row)
end

local function settle(row, fence, kind, delay_ms, reason, message, budget)
  local key = row_key(row)
  local v = redis.call('HMGET', key, 'st', 'f', 'w', 'lf', 'lk', 'a', 'c', 'q', 'msg', 'jb')
  if v[1] ~= 'r' or v[2] ~= fence or v[3] ~= me then
    local before = v[4] == fence or (not v[1] and redis.call('GET', done_key(row)) == fence)
    return before and 'd' or stale(row, fence, kind)
  end
  redis.call('ZREM', LEASE, row)
  local code = 'o'
  if kind == 'ok' then
    redis.call('DEL', key)
    redis.call('SET', done_key(row), fence, 'PX', done_ms)
    if v[10] then mark(v[10], DONE) end
    if budget ~= '' then
      local one, refill = bucket(v[8], budget)
      one.tokens = math.min(one.size, one.tokens + refill)
    end
  else
    redis.call('HSET', key, 'lf', fence, 'err', reason)
    if kind == 'retry' then
      local one, _, wait_ms
      if budget ~= '' then one, _, wait_ms = bucket(v[8], budget) end
      if one and one.tokens < 1 then -- the same attempt again, much later: it costs none
        delay(row, math.max(delay_ms, wait_ms), '')
        count('held_back')
        code = 'h'
      else
        if one then one.tokens = one.tokens - 1 end
        redis.call('HSET', key, 'a', (tonumber(v[6]) or 0) + 1)
        delay(row, delay_ms, message)
      end
    elseif kind == 'snooze' then
      delay(row, delay_ms, message)
    elseif kind == 'dead' then
      bury(row, reason)
    elseif kind == 'crash' then
      local limit, text = string.match(reason, '^(%d+) ?(.*)$')
      if crashed(row, (tonumber(v[7]) or 0) + 1, tonumber(limit) or tonumber(ARGV[11]), text or reason) then
        code = 'x'
      else
        delay(row, delay_ms, message)
      end
    else
      if message ~= '' then redis.call('HSET', key, 'msg', message) end
      to_front(row, v[8], message ~= '' and message or v[9])
    end
  end
  free_lock(v[5], row)
  if kind ~= 'dead' then count(kind) end -- bury() has counted it
  return code
end

local function promote()
  for _, row in ipairs(redis.call('ZRANGEBYSCORE', DELAY, '-inf', int(now_ms), 'LIMIT', 0, most)) do
    redis.call('ZREM', DELAY, row)
    local v = redis.call('HMGET', row_key(row), 'st', 'q', 'msg')
    if v[1] == 'd' then
      redis.call('HSET', row_key(row), 'st', 'q')
      redis.call('LPUSH', v[2], v[3])
      seen.promoted = seen.promoted + 1
    end
  end
end

local function reap()
  for _, row in ipairs(redis.call('ZRANGEBYSCORE', LEASE, '-inf', int(now_ms), 'LIMIT', 0, most)) do
    redis.call('ZREM', LEASE, row)
    local key = row_key(row)
    local v = redis.call('HMGET', key, 'st', 's', 'c', 'rt', 'mc', 'q', 'msg', 'lk')
    if v[1] == 'r' then
      seen.reaped = seen.reaped + 1
      local dead
      if v[2] == '1' then
        dead = crashed(row, (tonumber(v[3]) or 0) + 1, tonumber(v[5] or ARGV[11]), 'its worker died or was lost')
      else
        local returns = (tonumber(v[4]) or 0) + 1
        redis.call('HSET', key, 'rt', returns)
        dead = returns >= MAX_RETURNS
        if dead then bury_unasked(row, 'came back unstarted too often') end
      end
      if not dead then to_front(row, v[6], v[7]) end
      free_lock(v[8], row)
    end
  end
  if seen.reaped > 0 then count('reaped', seen.reaped) end
end

-- The row a message belongs to. A message that locked_retry wrote for a retry names it, for exactly that generation.
local function identify(raw)
  local ok, message = pcall(cjson.decode, raw)
  if not ok or type(message) ~= 'table' then return nil, 'raw-' .. redis.sha1hex(raw) end
  local headers = type(message.headers) == 'table' and message.headers or {}
  local properties = type(message.properties) == 'table' and message.properties or {}
  local tag = type(properties.delivery_tag) == 'string' and properties.delivery_tag or redis.sha1hex(raw)
  if type(headers.id) ~= 'string' then return headers, tag, tag end
  local retries, nesting = tonumber(headers.retries) or 0, tonumber(headers.replaced_task_nesting) or 0
  local generation = int(retries) .. '~' .. int(nesting) .. '~'
  if type(headers.lr) == 'string' and string.sub(headers.lr, 1, #generation) == generation then
    return headers, string.sub(headers.lr, #generation + 1), tag
  end
  if retries == 0 and nesting == 0 then return headers, headers.id, tag end
  return headers, headers.id .. '~' .. int(retries) .. '~' .. int(nesting), tag
end

local fence = tonumber(redis.call('GET', FENCE) or '0')

-- Whether someone else holds the lock. A holder without a running row is none (Redis lost it, or it was repaired).
local function held_by_other(name, row)
  local owner = redis.call('HGET', P .. 'lock:' .. name, 'o')
  if not owner or owner == row then return false end
  local v = redis.call('HMGET', row_key(owner), 'st', 'lk')
  return v[1] == 'r' and v[2] == name
end

local function drop()
  seen.dropped = seen.dropped + 1
  count('dropped')
end

local function claim(raw, number)
  local list = KEYS[7 + number]
  local headers, row, tag = identify(raw)
  local key = row_key(row)
  if not headers then
    redis.call('HSET', key, 'msg', raw, 'q', list, 'tag', row)
    return bury(row, 'not a JSON message')
  end
  if redis.call('EXISTS', done_key(row)) == 1 then return drop() end
  local v = redis.call('HMGET', key, 'st', 'tag', 'q', 'msg', 'c', 'rt', 'pk')
  if v[1] and v[1] ~= 'q' then return drop() end
  if v[1] and v[2] ~= tag and redis.call('LPOS', v[3], v[4]) then return drop() end
  local name = type(headers.lr_lock) == 'string' and headers.lr_lock or ''
  if name ~= '' and held_by_other(name, row) then
    redis.call('HSET', key, 'st', 'p', 'msg', raw, 'q', list, 'tag', tag, 'lk', name, 'pk', '1')
    redis.call(v[7] and 'LPUSH' or 'RPUSH', P .. 'wait:' .. name, row)
    seen.parked = seen.parked + 1
    return count('parked')
  end
  fence = math.max(fence + 1, now_us)
  redis.call('HSET', key, 'st', 'r', 'msg', raw, 'q', list, 'tag', tag, 'f', int(fence), 'w', me, 'tn', turn)
  if name ~= '' then
    redis.call('HSET', key, 'lk', name)
    redis.call('HSET', P .. 'lock:' .. name, 'o', row, 'f', int(fence))
  end
  if type(headers.lr_job) == 'string' then redis.call('HSET', key, 'jb', headers.lr_job) end
  redis.call('ZADD', LEASE, int(now_ms + lease_ms), row)
  claims[#claims + 1] = { row, int(fence), tonumber(v[5]) or 0, tonumber(v[6]) or 0, number, raw }
  want_bytes = want_bytes - #raw
end

-- Every queue of a priority gets its share before any gets more; the queue to begin with rotates from turn to turn.
local function claim_all()
  for base = 0, #KEYS - 7 - queues, queues do
    local progress = true
    while progress and #claims < want and want_bytes > 0 do
      progress = false
      for offset = 0, queues - 1 do
        local number = base + 1 + (first + offset) % queues
        local share = math.min(math.ceil((want - #claims) / (queues - offset)), 100)
        for _ = 1, share do
          if want_bytes <= 0 then break end
          local raw = redis.call('RPOP', KEYS[7 + number])
          if not raw then break end
          progress = true
          claim(raw, number)
        end
      end
    end
  end
end

local function claimed_before()
  local number_of = {}
  for number = 1, #KEYS - 7 do number_of[KEYS[7 + number]] = number end
  for row in string.gmatch(redis.call('HGET', WORKER, 'rows') or '', '[^\n]+') do
    local v = redis.call('HMGET', row_key(row), 'st', 'w', 'tn', 'f', 'c', 'rt', 'q', 'msg')
    if v[1] == 'r' and v[2] == me and v[3] == turn then
      claims[#claims + 1] = { row, v[4], tonumber(v[5]) or 0, tonumber(v[6]) or 0, number_of[v[7]] or 0, v[8] }
    end
  end
end

local function buried_before()
  for row in string.gmatch(redis.call('HGET', WORKER, 'buried') or '', '[^\n]+') do
    local v = redis.call('HMGET', row_key(row), 'st', 'err', 'msg')
    if v[1] == 'x' then buried[#buried + 1] = { row, v[2], v[3] } end
  end
end

local function names(of)
  local rows = {}
  for number, one in ipairs(of) do rows[number] = one[1] end
  return table.concat(rows, '\n')
end

local replay = redis.call('HGET', WORKER, 'tn') == turn
local at = FIXED
if replay then
  codes = { redis.call('HGET', WORKER, 'codes') or '' }
  at = at + 7 * settles
else
  for number = 1, settles do
    local delay_ms = tonumber(ARGV[at + 4]) or 0
    codes[number] = settle(ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], delay_ms, ARGV[at + 5], ARGV[at + 6], ARGV[at + 7])
    at = at + 7
  end
end
for _ = 1, renewals do
  local row = ARGV[at + 1]
  if not renew(me, row, ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]) then lost[#lost + 1] = row end
  at = at + 4
end
if replay then
  claimed_before()
  buried_before()
  count('replays')
else
  promote()
  reap()
  if want > 0 then claim_all() end
  if #claims > 0 then
    redis.call('SET', FENCE, int(fence))
    count('claimed', #claims)
  end
  write_buckets()
  redis.call('HSET', WORKER, 'tn', turn, 'codes', table.concat(codes), 'rows', names(claims), 'buried', names(buried))
  redis.call('PEXPIRE', WORKER, 3600000)
end
write_counts()

local due_ms = -1
for _, index in ipairs({ DELAY, LEASE }) do
  local head = redis.call('ZRANGE', index, 0, 0, 'WITHSCORES')[2]
  if head and (due_ms < 0 or head - now_ms < due_ms) then due_ms = math.max(0, head - now_ms) end
end
local counted = { seen.promoted, seen.reaped, seen.dropped, seen.parked }
return { now_ms, due_ms, table.concat(codes), lost, claims, counted, buried }
