-- subscriber_remove: removes a subscriber and frees his address.
-- KEYS[1] state  KEYS[2] addresses  KEYS[3] events
-- ARGV[1] subscriber id  ARGV[2] state before  ARGV[3] address before  ARGV[4..] entry fields
-- returns 1 removed | 0 was not there, or was changed meanwhile
-- invariant: no address stays taken by somebody who is gone
local state, addresses, events = KEYS[1], KEYS[2], KEYS[3]
local id, before, address = ARGV[1], ARGV[2], ARGV[3]

if redis.call('HGET', state, id) ~= before then
  return 0
end
redis.call('HDEL', state, id)
if redis.call('HGET', addresses, address) == id then
  redis.call('HDEL', addresses, address)
end
redis.call('XADD', events, '*', unpack(ARGV, 4))
return 1
