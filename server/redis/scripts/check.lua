#!lua flags=no-writes
-- check: where a session and its presence are now; asked for all sessions with local readers, often.
-- KEYS  1 doc  2 presence
-- REPLY { 'GONE', replid } or { 'AT', epoch, revision, version of the presence: '0' where nobody is shown }
-- include: session.part.lua
local at = position(KEYS[1])
if not at then return { 'GONE', replid } end
return { 'AT', at.epoch, at.revision, typed(KEYS[2], 'hash') and redis.call('HGET', KEYS[2], 'v') or '0' }
