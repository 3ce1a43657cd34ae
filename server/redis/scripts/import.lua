#!lua
-- import: puts a whole session in place, as a new life of it: nobody sees a half of it.
-- KEYS  1 doc  2 log  3 messages  4 created  5 changed  6 history  7 index  8 channel
-- ARGV  1 session id  2 replace (0 | 1)  3 birth  4 revision  5 version JSON
--       n, n x (field, value) of the document, n x (message id, JSON) to the end, at revisions 2, 3, …
-- REPLY { 'TAKEN' } | { 'REPLACED' } | { 'SKIPPED' } | { 'BROKEN', key number }
-- include: session.part.lua
local kinds = { 'hash', 'stream', 'hash', 'zset', 'zset', 'stream', 'zset' }
for i, kind in ipairs(kinds) do
  if not typed(KEYS[i], kind) then return { 'BROKEN', i } end
end
local at = position(KEYS[1])
if at and ARGV[2] == '0' then return { 'SKIPPED' } end

redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6])
redis.call('HSET', KEYS[1], 'birth', ARGV[3], 'revision', ARGV[4], 'fence', (at and at.fence or 0) + 1)
local first = 7
for i = first, first + 2 * tonumber(ARGV[6]) - 1, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
local bytes, revision = 0, 1
for i = first + 2 * tonumber(ARGV[6]), #ARGV, 2 do
  revision = revision + 1
  bytes = bytes + #ARGV[i + 1]
  redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1])
  redis.call('ZADD', KEYS[4], revision, ARGV[i])
  redis.call('ZADD', KEYS[5], revision, ARGV[i])
end
redis.call('HSET', KEYS[1], 'messageBytes', bytes)
redis.call('XADD', KEYS[6], '1-0', 'v', ARGV[5])
redis.call('ZADD', KEYS[7], 0, ARGV[1])
redis.call('SPUBLISH', KEYS[8], '{"epoch":"' .. ARGV[3] .. '-' .. replid .. '","replaced":true}')
return { at and 'REPLACED' or 'TAKEN' }
