-- trim: deletes the oldest entries of one stream, a bounded number a call, and never what a group still needs.
-- KEYS[1] stream  KEYS[2] operations
-- ARGV[1] id below which to delete  ARGV[2] how many at the most  ARGV[3] number of groups that must be there, then those
--         then the fields of the event that tells of it (none: an earlier call of this trim has told)
-- returns {deleted, what, group}: ok | missing | unread | pending; with the latter three nothing was deleted
-- invariant: nothing that any group has not finished is deleted, whatever was true when the caller looked
local stream, operations = KEYS[1], KEYS[2]
local floor, most, total = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

local blocked = guard(stream, floor, 4, 3 + total)
if blocked then return {0, blocked[1], blocked[2]} end
redis.call('XLEN', operations)

local deleted = redis.call('XTRIM', stream, 'MINID', '~', floor, 'LIMIT', most)
-- What `~` leaves is less than one node of the stream.
if deleted == 0 then deleted = redis.call('XTRIM', stream, 'MINID', '=', floor) end
if #ARGV > 3 + total then redis.call('XADD', operations, '*', unpack(ARGV, 4 + total)) end
return {deleted, 'ok', ''}
