-- Shared by the scripts: the session's state as one reply, and its epoch.
-- The epoch is the id given at creation plus Redis's replication id, which changes when Redis restarts and when a
-- replica is promoted. It is computed at each call, so a new life of Redis is a new epoch for everybody at once.
-- A replica is asked by whoever has not heard that it is no primary any more: what it has may be old.
local replication = redis.call('INFO', 'replication')
if string.find(replication, 'role:slave', 1, true) then return redis.error_reply('READONLY this is a replica') end
local replid = string.sub(string.match(replication, 'master_replid:(%x+)'), 1, 8)

local function typed(key, kind)
  local found = redis.call('TYPE', key).ok
  return found == 'none' or found == kind
end

-- false where the session does not exist (or its key holds something that is not ours)
local function position(key)
  if not typed(key, 'hash') then return false end
  local d = redis.call('HMGET', key, 'birth', 'revision', 'fence')
  if not d[1] then return false end
  return { epoch = d[1] .. '-' .. replid, revision = tonumber(d[2]), fence = tonumber(d[3]) }
end

-- The fields of a state reply, in this order: see `readState` in scripts.ts
local function state(key)
  return redis.call('HMGET', key, 'settingsRevision', 'messagesRevision', 'settings', 'title', 'metadata',
    'messageCount', 'createdAt', 'updatedAt', 'updatedBy', 'lastVersion', 'fence', 'messageBytes')
end
