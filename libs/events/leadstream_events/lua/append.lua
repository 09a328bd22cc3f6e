-- append: stores the event that opens a lead, once per lead id, and only while its sender still waits for it.
-- KEYS[1] stream  KEYS[2] ledger of the lead
-- ARGV[1] fingerprint of the body  ARGV[2] deadline in ms of the server's clock (0: none)  ARGV[3..] entry fields;
--         without fields it only tells the time
-- returns {what, id, the server's time in ms}: 1 appended | 0 same body again | -1 other body under the same lead id |
--         -2 too late: nothing was stored | 2 only the time was asked for
-- invariant: the stream holds at most one LeadReceived per lead, however often a client or a spool repeats it, and
--         none that reached the server after the deadline
local stream, ledger = KEYS[1], KEYS[2]
local fingerprint, deadline = ARGV[1], tonumber(ARGV[2])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

if #ARGV < 3 then
  return {2, '', now}
end
local had = redis.call('HGET', ledger, 'lead')
if had then
  local id, before = string.match(had, '^(%S+) (%S+)')
  return {before == fingerprint and 0 or -1, id, now}
end
if deadline > 0 and now > deadline then
  return {-2, '', now}
end
local id = redis.call('XADD', stream, '*', unpack(ARGV, 3))
redis.call('HSET', ledger, 'lead', id .. ' ' .. fingerprint)
return {1, id, now}
