-- append: stores the event that opens a lead, once per lead id.
-- KEYS[1] stream  KEYS[2] ledger of the lead
-- ARGV[1] fingerprint of the body  ARGV[2..] entry fields
-- returns {1, id} appended | {0, id} same body again | {-1, id} other body under the same lead id
-- invariant: the stream holds at most one LeadReceived per lead, however often a client or a spool repeats it
local stream, ledger = KEYS[1], KEYS[2]
local fingerprint = ARGV[1]

local had = redis.call('HGET', ledger, 'lead')
if had then
  local id, before = string.match(had, '^(%S+) (%S+)')
  if before == fingerprint then
    return {0, id}
  end
  return {-1, id}
end
local id = redis.call('XADD', stream, '*', unpack(ARGV, 2))
redis.call('HSET', ledger, 'lead', id .. ' ' .. fingerprint)
return {1, id}
