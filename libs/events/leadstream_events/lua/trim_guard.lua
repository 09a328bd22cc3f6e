-- trim_guard: no verb of its own; stands in front of trim and forget.
-- guard(stream, floor, first, last) says what stands in the way of deleting below floor: nil, or {what, group}. The groups
-- ARGV[first..last] must be there: one that never started would lose what it has not seen.
local function earlier(id, than)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  local ms2, seq2 = string.match(than, '^(%d+)-(%d+)$')
  return tonumber(ms) < tonumber(ms2) or (ms == ms2 and tonumber(seq) < tonumber(seq2))
end

local function guard(stream, floor, first, last)
  local found = {}
  for _, info in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    found[info[2]] = true
    local unread = redis.call('XRANGE', stream, '(' .. info[8], '+', 'COUNT', 1)[1]
    if unread and earlier(unread[1], floor) then return {'unread', info[2]} end
    local pending = redis.call('XPENDING', stream, info[2])
    if type(pending[2]) == 'string' and earlier(pending[2], floor) then return {'pending', info[2]} end
  end
  for at = first, last do
    if not found[ARGV[at]] then return {'missing', ARGV[at]} end
  end
end

