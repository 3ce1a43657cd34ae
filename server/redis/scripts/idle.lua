#!lua
-- idle: when a session was last used: asks whether it has been idle, or says that it has readers.
-- KEYS  1 doc
-- ARGV  1 'touch' or 'ask'  2 touch: now; ask: idle since when (ISO 8601, UTC, milliseconds: compared as text)
-- REPLY { 'GONE', replid } | { 'TOUCHED' } | { 'BUSY' } | { 'IDLE', epoch, revision }
-- include: session.part.lua
local at = position(KEYS[1])
if not at then return { 'GONE', replid } end
if ARGV[1] == 'touch' then
  redis.call('HSET', KEYS[1], 'seenAt', ARGV[2])
  return { 'TOUCHED' }
end
local used = redis.call('HMGET', KEYS[1], 'updatedAt', 'seenAt', 'importedAt')
for i = 1, 3 do
  if used[i] and used[i] >= ARGV[2] then return { 'BUSY' } end
end
return { 'IDLE', at.epoch, at.revision }
