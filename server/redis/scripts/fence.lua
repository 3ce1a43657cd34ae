#!lua flags=allow-oom
-- fence: takes the next fencing token of a session, after its lock was taken, and says what the taker does not know yet.
-- KEYS  1 doc  2 wanted
-- ARGV  1 epoch and 2 revision the taker has ('' and 0: nothing)
-- REPLY { 'GONE', replid }
--       { 'TAKEN', token, epoch, revision, fields or false }   false: the taker is up to date
-- include: session.part.lua
local at = position(KEYS[1])
if not at then return { 'GONE', replid } end
-- whoever wanted the lease has it now; another who waits will say so again
redis.call('DEL', KEYS[2])
local token = redis.call('HINCRBY', KEYS[1], 'fence', 1)
local known = ARGV[1] == at.epoch and tonumber(ARGV[2]) == at.revision
return { 'TAKEN', token, at.epoch, at.revision, (not known) and state(KEYS[1]) }
