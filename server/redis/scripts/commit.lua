#!lua
-- commit: decides one batch of updates of one session: all of it is written, or nothing.
-- Order: look the ids up, compare the guards, check the types; then write; publish last. Lua has no rollback.
-- KEYS  1 doc  2 log  3 ids  4 idsBefore  5 messages  6 created  7 changed  8 history  9 index  10 wanted  11 channel
--       12 presence
-- ARGV  one JSON-free list, read from the front:
--       session id, mode (create | update | delete), epoch, revision, fence
--       limits: commits of the log, its bytes, versions, ids of a generation, ms of a generation
--       n, n x update id                                  every id of the batch, those of refused updates too
--       n, n x (revision, event, body)                    the commits, oldest first
--       n, n x (update id, what to remember)
--       n, n x (field, value)                             of the document; a value of '' removes the field
--       clear (0 | 1), n, n x message id to remove,
--       n, n x (message id, revision that added it if it is new, revision that changed it, JSON)
--       n, n x (revision to drop or 0, revision, JSON)    versions
-- REPLY { 'DUPLICATE', i, remembered, i, remembered, … }  i counts the batch's ids from 0; nothing was written
--       { 'GONE', replid } | { 'STALE', epoch, revision, fields } | { 'FENCED', fence } | { 'BROKEN', key number }
--       { 'COMMITTED', node that wants the lease or false }                   also where there was nothing to write: the guards held
-- include: session.part.lua
local doc, log, ids, idsBefore = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local messages, created, changed, history = KEYS[5], KEYS[6], KEYS[7], KEYS[8]

local cursor = 0
local function take()
  cursor = cursor + 1
  return ARGV[cursor]
end
local function number() return tonumber(take()) end

local sessionId, mode, epoch, revision, fence = take(), take(), take(), number(), number()
local logCommitsMax, logBytesMax, versionsMax, idsMax, idsMs = number(), number(), number(), number(), number()

-- Every key's type first: what is not ours is not touched.
local kinds = { 'hash', 'stream', 'hash', 'hash', 'hash', 'zset', 'zset', 'stream', 'zset' }
for i, kind in ipairs(kinds) do
  if not typed(KEYS[i], kind) then return { 'BROKEN', i } end
end

local duplicates = { 'DUPLICATE' }
for i = 0, number() - 1 do
  local id = take()
  local remembered = redis.call('HGET', ids, id) or redis.call('HGET', idsBefore, id)
  if remembered then
    duplicates[#duplicates + 1] = i
    duplicates[#duplicates + 1] = remembered
  end
end
if #duplicates > 1 then return duplicates end

local at = position(doc)
if mode == 'create' then
  if at then return { 'STALE', at.epoch, at.revision, state(doc) } end
  if string.sub(epoch, -8) ~= replid then return { 'GONE', replid } end
else
  if not at then return { 'GONE', replid } end
  if at.epoch ~= epoch or at.revision ~= revision then return { 'STALE', at.epoch, at.revision, state(doc) } end
  if fence < at.fence then return { 'FENCED', at.fence } end
end

-- Guards held: from here on only writes.
local bodies, logged = {}, 0
local commits = number()
-- What is left of a life whose document was lost would get into this one's way.
if mode == 'create' and commits > 0 then redis.call('UNLINK', log, messages, created, changed, history) end
local isNewLog = redis.call('XLEN', log) == 0
for i = 1, commits do
  local id, event, body = take(), take(), take()
  redis.call('XADD', log, id .. '-0', 'e', event, 'f', fence, 'b', body)
  bodies[i] = body
  logged = logged + #body
end

local remember = number()
if remember > 0 then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  -- Two generations: each holds idsMax ids or idsMs of them, and the one before is kept whole. '' is when one began.
  local since = tonumber(redis.call('HGET', ids, '') or 0)
  local pairsOfIds = {}
  for i = 1, 2 * remember do pairsOfIds[i] = take() end
  if since > 0 and (redis.call('HLEN', ids) > idsMax or now - since > idsMs) then
    redis.call('UNLINK', idsBefore)
    redis.call('RENAME', ids, idsBefore)
    redis.call('PEXPIRE', idsBefore, 2 * idsMs)
    since = 0
  end
  if since == 0 then
    pairsOfIds[2 * remember + 1] = ''
    pairsOfIds[2 * remember + 2] = now
  end
  redis.call('HSET', ids, unpack(pairsOfIds))
  -- kept at least idsMs after the last use, without a write for each
  if redis.call('PTTL', ids) < 2 * idsMs then redis.call('PEXPIRE', ids, 3 * idsMs) end
end

-- Fields of the document: collected, and written at the end by one command.
local set, removed = {}, {}
local function put(field, value)
  set[#set + 1] = field
  set[#set + 1] = value
end
local fields = number()
for _ = 1, fields do
  local field, value = take(), take()
  if value == '' then removed[#removed + 1] = field else put(field, value) end
end
if mode == 'create' and fields > 0 then
  put('fence', fence)
  redis.call('ZADD', KEYS[9], 0, sessionId)
end

-- The log holds no commit at or below `last` afterwards.
local function dropLogTo(last)
  while true do
    local page = redis.call('XRANGE', log, '-', last .. '-0', 'COUNT', 64)
    if #page == 0 then break end
    for _, entry in ipairs(page) do logged = logged - #entry[2][6] end
    redis.call('XTRIM', log, 'MINID', '=', (tonumber(string.match(page[#page][1], '^%d+')) + 1) .. '-0')
  end
end

if take() == '1' then
  dropLogTo(revision)
  redis.call('UNLINK', messages, created, changed)
  put('messageBytes', 0)
end
local bytes = 0
for _ = 1, number() do
  local id = take()
  bytes = bytes - redis.call('HSTRLEN', messages, id)
  dropLogTo(redis.call('ZSCORE', changed, id) or 0)
  redis.call('HDEL', messages, id)
  redis.call('ZREM', created, id)
  redis.call('ZREM', changed, id)
end
for _ = 1, number() do
  local id, added, at, json = take(), take(), take(), take()
  bytes = bytes + #json - redis.call('HSTRLEN', messages, id)
  redis.call('HSET', messages, id, json)
  redis.call('ZADD', created, 'NX', added, id)
  redis.call('ZADD', changed, at, id)
end
if bytes ~= 0 then redis.call('HINCRBY', doc, 'messageBytes', bytes) end

for _ = 1, number() do
  local drop, at, json = take(), take(), take()
  if drop ~= '0' then redis.call('XDEL', history, drop .. '-0') end
  redis.call('XADD', history, 'MAXLEN', '=', versionsMax, at .. '-0', 'v', json)
end

if #bodies > 0 then
  if mode == 'delete' then
    redis.call('UNLINK', doc, log, messages, created, changed, history)
    if typed(KEYS[12], 'hash') then redis.call('UNLINK', KEYS[12]) end
    redis.call('ZREM', KEYS[9], sessionId)
  else
    local over = redis.call('XLEN', log) - logCommitsMax
    if over > 0 then
      for _, entry in ipairs(redis.call('XRANGE', log, '-', '+', 'COUNT', over)) do logged = logged - #entry[2][6] end
      redis.call('XTRIM', log, 'MAXLEN', '=', logCommitsMax)
    end
    -- A log that was lost is counted afresh.
    local total = logged + (isNewLog and 0 or tonumber(redis.call('HGET', doc, 'logBytes') or 0))
    while total > logBytesMax do
      local oldest = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)
      if #oldest == 0 then break end
      total = total - #oldest[1][2][6]
      redis.call('XDEL', log, oldest[1][1])
    end
    put('logBytes', total)
    redis.call('HSET', doc, unpack(set))
    if #removed > 0 then redis.call('HDEL', doc, unpack(removed)) end
  end
  redis.call('SPUBLISH', KEYS[11], '{"epoch":"' .. epoch .. '","commits":[' .. table.concat(bodies, ',') .. ']}')
end
return { 'COMMITTED', redis.call('GET', KEYS[10]) }
