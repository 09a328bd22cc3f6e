-- seek: sets a group to another position on one stream, and records who did it and why, in one step.
-- KEYS[1] stream  KEYS[2] checkpoints  KEYS[3] operations
-- ARGV[1] group  ARGV[2] position it must have  ARGV[3] new position  ARGV[4] ms of silence after which a consumer is dead
--         (-1: whatever lives)  ARGV[5] parking consumer  ARGV[6..] fields of the event
-- returns {what, detail}
--   ok     done; the detail is the position as it is now, read back
--   alive  a consumer (the detail) lives: it would go on from where it is
--   moved  the group stands elsewhere (the detail) by now
--   none   there is no such group on this stream
-- invariant: whoever creates the group again after a loss starts at the new position (checkpoint), not at the old one
local stream, checkpoints, operations = KEYS[1], KEYS[2], KEYS[3]
local group, before, after, dead_ms, parking = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]

local function position()
  for _, info in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    if info[2] == group then return info[8] end
  end
end
local now = redis.call('EXISTS', stream) == 1 and position()
if not now then return {'none', ''} end
if now ~= before then return {'moved', now} end
if dead_ms >= 0 then
  for _, info in ipairs(redis.call('XINFO', 'CONSUMERS', stream, group)) do
    if info[2] ~= parking and info[6] <= dead_ms then return {'alive', info[2]} end
  end
end
redis.call('XLEN', operations) -- a key of a wrong type fails here, before anything is written
redis.call('XGROUP', 'SETID', stream, group, after)
local pending = redis.call('XPENDING', stream, group)
local first = type(pending[2]) == 'string' and pending[2]
local function earlier(id, than)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  local ms2, seq2 = string.match(than, '^(%d+)-(%d+)$')
  return tonumber(ms) < tonumber(ms2) or (ms == ms2 and tonumber(seq) < tonumber(seq2))
end
redis.call('HSET', checkpoints, group .. ' ' .. stream, first and earlier(first, after) and '<' .. first or after)
redis.call('XADD', operations, '*', unpack(ARGV, 6))
return {'ok', position()}
