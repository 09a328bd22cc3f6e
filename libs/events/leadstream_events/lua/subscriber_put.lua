-- subscriber_put: adds or changes a subscriber; his address stays unique.
-- KEYS[1] state  KEYS[2] addresses  KEYS[3] events
-- ARGV[1] subscriber id  ARGV[2] state before ('' when new)  ARGV[3] state after  ARGV[4] address before ('' when new)
-- ARGV[5] address after  ARGV[6..] entry fields
-- returns {'ok', entry id} | {'changed'} somebody else was faster | {'taken', subscriber id} the address is another's
local state, addresses, events = KEYS[1], KEYS[2], KEYS[3]
local id, before, after, old_address, new_address = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]

if (redis.call('HGET', state, id) or '') ~= before then
  return {'changed'}
end
local holder = redis.call('HGET', addresses, new_address)
if holder and holder ~= id then
  return {'taken', holder}
end
if old_address ~= '' and old_address ~= new_address then
  redis.call('HDEL', addresses, old_address)
end
redis.call('HSET', addresses, new_address, id)
redis.call('HSET', state, id, after)
return {'ok', redis.call('XADD', events, '*', unpack(ARGV, 6))}
