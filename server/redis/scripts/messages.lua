#!lua flags=no-writes
-- messages: a page of a session's messages, newest first.
-- KEYS  1 doc  2 messages  3 created or changed: which revision orders them
-- ARGV  1 lowest score  2 highest score (as ZREVRANGEBYSCORE takes them)  3 how many at most  4 bytes at most
-- REPLY { 'GONE', replid } or { 'MESSAGES', epoch, more (0 | 1), score, JSON, score, JSON, … }
-- include: session.part.lua
local at = position(KEYS[1])
if not at then return { 'GONE', replid } end
local reply = { 'MESSAGES', at.epoch, 0 }
local count, room = tonumber(ARGV[3]), tonumber(ARGV[4])
if not (typed(KEYS[2], 'hash') and typed(KEYS[3], 'zset')) then return reply end
local page = redis.call('ZREVRANGEBYSCORE', KEYS[3], ARGV[2], ARGV[1], 'WITHSCORES', 'LIMIT', 0, count + 1)
for i = 1, #page, 2 do
  local json = redis.call('HGET', KEYS[2], page[i])
  if json then
    room = room - #json
    if i > 2 * count or (room < 0 and #reply > 3) then
      reply[3] = 1
      break
    end
    reply[#reply + 1] = page[i + 1]
    reply[#reply + 1] = json
  end
end
return reply
