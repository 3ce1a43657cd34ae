#!lua flags=no-writes
-- check: where a session is now; asked for all sessions with local readers, often.
-- KEYS  1 doc
-- REPLY { 'GONE', replid } or { 'AT', epoch, revision }
-- include: session.part.lua
local at = position(KEYS[1])
if not at then return { 'GONE', replid } end
return { 'AT', at.epoch, at.revision }
