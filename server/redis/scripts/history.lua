#!lua flags=no-writes
-- history: versions of the settings, newest first.
-- KEYS  1 doc  2 history
-- ARGV  1 revision that all are before ('': none)  2 how many at most  3 bytes at most (one version is always given)
-- REPLY { 'GONE', replid } or { 'VERSIONS', JSON, JSON, …, more (0 | 1) }
-- include: session.part.lua
if not position(KEYS[1]) then return { 'GONE', replid } end
local reply = { 'VERSIONS' }
if ARGV[1] == '0' then return { 'VERSIONS', 0 } end
local from = ARGV[1] == '' and '+' or '(' .. ARGV[1] .. '-0'
local count, room = tonumber(ARGV[2]), tonumber(ARGV[3])
if not typed(KEYS[2], 'stream') then return { 'VERSIONS', 0 } end
while true do
  local page = redis.call('XREVRANGE', KEYS[2], from, '-', 'COUNT', 32)
  for _, entry in ipairs(page) do
    local json = entry[2][2]
    room = room - #json
    if #reply > 1 and (#reply > count or room < 0) then
      reply[#reply + 1] = 1
      return reply
    end
    reply[#reply + 1] = json
    from = '(' .. entry[1]
  end
  if #page < 32 then break end
end
reply[#reply + 1] = 0
return reply
