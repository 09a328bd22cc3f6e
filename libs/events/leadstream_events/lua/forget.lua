-- forget: deletes the oldest leads and, in the same step, what is kept of each: its ledger and its counters.
-- KEYS[1] leads  KEYS[2] keys of leads  KEYS[3..] per lead: ledger, counters
-- ARGV[1] id below which to delete  ARGV[2] 1: the leads' keys go too, for nothing sealed is kept anywhere (no archive)
-- ARGV[3..] groups that must be there
-- returns {deleted, what, group}: ok | missing | unread | pending; with the latter three nothing was deleted
-- invariant: a ledger is there for as long as its lead; one of a later lead with the same id stays
local stream, floor = KEYS[1], ARGV[1]
local blocked = guard(stream, floor, 3, #ARGV)
if blocked then return {0, blocked[1], blocked[2]} end

local deleted = redis.call('XTRIM', stream, 'MINID', '=', floor)
for at = 3, #KEYS, 2 do
  local lead = redis.call('HGET', KEYS[at], 'lead')
  local entry = lead and string.match(lead, '^(%d+%-%d+)')
  if not entry or earlier(entry, floor) then
    redis.call('UNLINK', KEYS[at], KEYS[at + 1])
    if ARGV[2] == '1' then redis.call('HDEL', KEYS[2], string.match(KEYS[at], ':ledger:(.*)$')) end
  end
end
return {deleted, 'ok', ''}
