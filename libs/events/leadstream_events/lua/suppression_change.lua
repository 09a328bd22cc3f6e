-- suppression_change: gives an address a suppression, another one or none, together with the events that tell it.
-- KEYS[1] suppressions  KEYS[2] events
-- ARGV[1] address  ARGV[2] suppression before ('' for none)  ARGV[3] suppression after ('' for none)
-- ARGV[4] number of fields of each entry  ARGV[5..] fields of the entries, one after the other
-- returns 1 changed | 0 somebody else was faster, nothing was changed
-- invariant: a suppression that was decided upon without knowing the present one is never stored
local suppressions, events = KEYS[1], KEYS[2]
local address, before, after, width = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])

if (redis.call('HGET', suppressions, address) or '') ~= before then
  return 0
end
if after == '' then
  redis.call('HDEL', suppressions, address)
else
  redis.call('HSET', suppressions, address, after)
end
for first = 5, #ARGV, width do
  redis.call('XADD', events, '*', unpack(ARGV, first, first + width - 1))
end
return 1
