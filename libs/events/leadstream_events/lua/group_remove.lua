-- group_remove: removes a group from one stream for good, and records who did it and why, in one step.
-- KEYS[1] stream  KEYS[2] checkpoints  KEYS[3] operations
-- ARGV[1] group  ARGV[2] ms of silence after which a consumer is dead (-1: whatever lives)  ARGV[3..] fields of the event
-- returns {what, detail}: ok | alive (a consumer, the detail, lives) | none (there is no such group)
local stream, checkpoints, operations = KEYS[1], KEYS[2], KEYS[3]
local group, dead_ms = ARGV[1], tonumber(ARGV[2])

local there = false
if redis.call('EXISTS', stream) == 1 then
  for _, info in ipairs(redis.call('XINFO', 'GROUPS', stream)) do there = there or info[2] == group end
end
if not there then return {'none', ''} end
if dead_ms >= 0 then
  for _, info in ipairs(redis.call('XINFO', 'CONSUMERS', stream, group)) do
    if info[6] <= dead_ms then return {'alive', info[2]} end
  end
end
redis.call('XLEN', operations) -- a key of a wrong type fails here, before anything is written
redis.call('HDEL', checkpoints, group .. ' ' .. stream)
redis.call('XGROUP', 'DESTROY', stream, group)
redis.call('XADD', operations, '*', unpack(ARGV, 3))
return {'ok', ''}
