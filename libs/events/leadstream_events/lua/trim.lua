-- trim: deletes the oldest entries of one stream, a bounded number a call, and never what a group still needs.
-- KEYS[1] stream  KEYS[2] operations
-- ARGV[1] id below which to delete  ARGV[2] how many at the most  ARGV[3] number of groups that must be there, then those
--         then the fields of the event that the last call records (none: there is another call to come)
-- returns {deleted, what, group}: ok | missing | unread | pending; with the latter three nothing was deleted
-- invariant: nothing that any group has not finished is deleted, whatever was true when the caller looked
local stream, operations = KEYS[1], KEYS[2]
local floor, most, total = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

local function earlier(id, than)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  local ms2, seq2 = string.match(than, '^(%d+)-(%d+)$')
  return tonumber(ms) < tonumber(ms2) or (ms == ms2 and tonumber(seq) < tonumber(seq2))
end

local found = {}
for _, info in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
  found[info[2]] = true
  local unread = redis.call('XRANGE', stream, '(' .. info[8], '+', 'COUNT', 1)[1]
  if unread and earlier(unread[1], floor) then return {0, 'unread', info[2]} end
  local pending = redis.call('XPENDING', stream, info[2])
  if type(pending[2]) == 'string' and earlier(pending[2], floor) then return {0, 'pending', info[2]} end
end
for at = 4, 3 + total do
  if not found[ARGV[at]] then return {0, 'missing', ARGV[at]} end
end
redis.call('XLEN', operations)

local deleted = redis.call('XTRIM', stream, 'MINID', '~', floor, 'LIMIT', most)
-- What `~` leaves is less than one node of the stream.
if deleted == 0 then deleted = redis.call('XTRIM', stream, 'MINID', '=', floor) end
if #ARGV > 3 + total then redis.call('XADD', operations, '*', unpack(ARGV, 4 + total)) end
return {deleted, 'ok', ''}
