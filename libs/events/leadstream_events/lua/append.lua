-- append: stores the event that opens a lead, once per lead id, and only while its sender still waits for it.
-- KEYS[1] stream  KEYS[2] ledger of the lead  KEYS[3] keys of leads
-- ARGV[1] fingerprint of the body  ARGV[2] deadline in ms of the server's clock (0: none)  ARGV[3] lead id
--         ARGV[4] wrapped key of the sealed lead ('': in the clear)  ARGV[5..] entry fields; without fields it only
--         tells the time
-- returns {what, id, the server's time in ms}: 1 appended | 0 same body again | -1 other body under the same lead id |
--         -2 too late: nothing was stored | -3 the lead was erased | 2 only the time was asked for
-- invariant: the stream holds at most one LeadReceived per lead, however often a client or a spool repeats it, and
--         none that reached the server after the deadline; a sealed lead is never there without its key
local stream, ledger, keys = KEYS[1], KEYS[2], KEYS[3]
local fingerprint, deadline, lead, key = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

if #ARGV < 5 then
  return {2, '', now}
end
local had = redis.call('HGET', ledger, 'lead')
if had then
  local id, before = string.match(had, '^(%S+) (%S+)')
  return {before == fingerprint and 0 or before == 'erased' and -3 or -1, id, now}
end
if deadline > 0 and now > deadline then
  return {-2, '', now}
end
if key ~= '' then redis.call('HLEN', keys) end -- a key of a wrong type fails here, before anything is written
local id = redis.call('XADD', stream, '*', unpack(ARGV, 5))
redis.call('HSET', ledger, 'lead', id .. ' ' .. fingerprint)
if key ~= '' then redis.call('HSET', keys, lead, key) end
return {1, id, now}
