#!lua flags=no-writes
-- read: one session at one moment, for a reader that may have a part of it already.
-- KEYS  1 doc  2 log  3 messages
-- ARGV  1 epoch and 2 revision the reader has ('' and 0: nothing)  3 bytes of tail it takes (0: no tail)  4.. message ids
-- REPLY { 'GONE', replid }
--       { 'SAME', epoch, revision, messages }                the reader is up to date
--       { 'TAIL', epoch, revision, messages, commits }       the commits after the reader's revision, oldest first
--       { 'STATE', epoch, revision, messages, fields }
--       messages: one JSON or false per id asked for
-- include: session.part.lua

local at = position(KEYS[1])
if not at then return { 'GONE', replid } end

local messages = {}
if #ARGV > 3 and typed(KEYS[3], 'hash') then
  for i = 4, #ARGV do messages[i - 3] = redis.call('HGET', KEYS[3], ARGV[i]) end
end

local revision, room = tonumber(ARGV[2]), tonumber(ARGV[3])
if ARGV[1] == at.epoch then
  if revision == at.revision then return { 'SAME', at.epoch, at.revision, messages } end
  if room > 0 and revision < at.revision and typed(KEYS[2], 'stream') then
    local commits, nextId = {}, revision + 1
    -- the log is contiguous where it reaches: the first entry decides
    while nextId <= at.revision and room >= 0 do
      local page = redis.call('XRANGE', KEYS[2], nextId .. '-0', '+', 'COUNT', 64)
      if #page == 0 then break end
      for _, entry in ipairs(page) do
        if entry[1] ~= nextId .. '-0' then room = -1 break end
        local body = entry[2][6]
        room = room - #body
        if room < 0 then break end
        commits[#commits + 1] = body
        nextId = nextId + 1
      end
    end
    if nextId == at.revision + 1 then return { 'TAIL', at.epoch, at.revision, messages, commits } end
  end
end
return { 'STATE', at.epoch, at.revision, messages, state(KEYS[1]) }
