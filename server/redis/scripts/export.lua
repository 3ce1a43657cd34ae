#!lua flags=no-writes
-- export: one session with all its messages, oldest first, at one moment.
-- KEYS  1 doc  2 messages  3 created
-- ARGV  1 bytes of messages at most
-- REPLY { 'GONE', replid } or { 'TOO_LARGE', bytes } or { 'SESSION', epoch, revision, fields, JSON, JSON, … }
-- include: session.part.lua
local at = position(KEYS[1])
if not at then return { 'GONE', replid } end
local bytes = tonumber(redis.call('HGET', KEYS[1], 'messageBytes') or 0)
if bytes > tonumber(ARGV[1]) then return { 'TOO_LARGE', bytes } end
local reply = { 'SESSION', at.epoch, at.revision, state(KEYS[1]) }
if not (typed(KEYS[2], 'hash') and typed(KEYS[3], 'zset')) then return reply end
for _, id in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
  reply[#reply + 1] = redis.call('HGET', KEYS[2], id)
end
return reply
