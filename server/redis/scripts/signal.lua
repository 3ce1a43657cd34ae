#!lua flags=allow-oom
-- signal: relays an ephemeral message to whoever hears a session; nothing of it stays.
-- KEYS  1 doc  2 channel
-- ARGV  1 the publication, JSON
-- REPLY { 'GONE', replid } | { 'SENT' }
-- include: session.part.lua
if not position(KEYS[1]) then return { 'GONE', replid } end
redis.call('SPUBLISH', KEYS[2], ARGV[1])
return { 'SENT' }
