-- subscriber_remove: removes a subscriber and frees his address.
-- KEYS[1] state  KEYS[2] addresses  KEYS[3] events
-- ARGV[1] subscriber id  ARGV[2] address  ARGV[3..] entry fields
-- returns 1 removed | 0 was not there
local state, addresses, events = KEYS[1], KEYS[2], KEYS[3]
local id, address = ARGV[1], ARGV[2]

if redis.call('HDEL', state, id) == 0 then
  return 0
end
if redis.call('HGET', addresses, address) == id then
  redis.call('HDEL', addresses, address)
end
redis.call('XADD', events, '*', unpack(ARGV, 3))
return 1
