#!lua flags=no-writes
-- at: what the log and the history still know of a revision.
-- KEYS  1 doc  2 log  3 history
-- ARGV  1 revision
-- REPLY { 'GONE', replid }
--       { 'AT', epoch, revision now, commit at that revision or false,
--         newest commit at or before it that has settings or false, version that holds it or false, version after or false }
-- include: session.part.lua
local at = position(KEYS[1])
if not at then return { 'GONE', replid } end
local asked = tonumber(ARGV[1])

local commit, settings = false, false
if typed(KEYS[2], 'stream') then
  local last, left = asked, 2000
  while last >= 1 and left > 0 and not settings do
    local page = redis.call('XREVRANGE', KEYS[2], last .. '-0', '-', 'COUNT', 50)
    if #page == 0 then break end
    for _, entry in ipairs(page) do
      last = tonumber(string.match(entry[1], '^%d+'))
      if last == asked then commit = entry[2][6] end
      if entry[2][2] == 'settings:updated' or entry[2][2] == 'session:created' then
        settings = entry[2][6]
        break
      end
    end
    last, left = last - 1, left - #page
  end
end

local before, after = false, false
if typed(KEYS[3], 'stream') then
  local older = redis.call('XREVRANGE', KEYS[3], asked .. '-0', '-', 'COUNT', 1)
  local newer = redis.call('XRANGE', KEYS[3], (asked + 1) .. '-0', '+', 'COUNT', 1)
  before = older[1] and older[1][2][2] or false
  after = newer[1] and newer[1][2][2] or false
end
return { 'AT', at.epoch, at.revision, commit, settings, before, after }
