#!lua
-- presence: changes who is shown in a session and what each shows, and tells the channel what became of it.
-- The version begins at the time of day, so that no two lives of the key share one; it is 0 where nobody is shown.
-- KEYS  1 doc  2 presence  3 channel
-- ARGV  1 participants at most  2 bytes at most  3 how long the key stays without a call, milliseconds
--       n x (node, participant id, JSON or '' to take it out) to the end; what is taken out makes room for what follows
-- REPLY { 'GONE', replid } | { 'BROKEN' }
--       { 'SHOWN', i, i, … }   i: the changes, counted from 0, that there was no room for
-- include: session.part.lua
local key = KEYS[2]
if not typed(key, 'hash') then return { 'BROKEN' } end
if not position(KEYS[1]) then
  redis.call('UNLINK', key)
  return { 'GONE', replid }
end
local most, bytesMax = tonumber(ARGV[1]), tonumber(ARGV[2])
local known = redis.call('HMGET', key, 'v', 'b')
local before, bytes = known[1] or '0', tonumber(known[2] or 0)
-- Beside the participants there are the version and the bytes.
local count = known[1] and redis.call('HLEN', key) - 2 or 0

local reply, joined, updated, left = { 'SHOWN' }, {}, {}, {}
for i = 4, #ARGV, 3 do
  local node, id, json = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local field = node .. ':' .. id
  local shown = redis.call('HGET', key, field)
  local grown = bytes + #json - (shown and #shown or 0)
  if json == '' then
    if shown then
      redis.call('HDEL', key, field)
      count, bytes = count - 1, grown
      left[#left + 1] = '"' .. id .. '"'
    end
  elseif json ~= shown then
    if grown > bytesMax or (not shown and count >= most) then
      reply[#reply + 1] = (i - 4) / 3
    else
      redis.call('HSET', key, field, json)
      bytes = grown
      local entry = '{"node":"' .. node .. '","participant":' .. json .. '}'
      if shown then updated[#updated + 1] = entry else
        joined[#joined + 1] = entry
        count = count + 1
      end
    end
  end
end

if #joined + #updated + #left > 0 then
  local version = '0'
  if count == 0 then
    redis.call('UNLINK', key)
  else
    if before == '0' then
      local time = redis.call('TIME')
      version = time[1] .. string.format('%06d', time[2])
    else
      version = string.format('%.0f', before + 1)
    end
    redis.call('HSET', key, 'v', version, 'b', bytes)
  end
  redis.call('SPUBLISH', KEYS[3], '{"presence":{"before":' .. before .. ',"version":' .. version ..
    ',"joined":[' .. table.concat(joined, ',') .. '],"updated":[' .. table.concat(updated, ',') ..
    '],"left":[' .. table.concat(left, ',') .. ']}}')
end
redis.call('PEXPIRE', key, ARGV[3])
return reply
