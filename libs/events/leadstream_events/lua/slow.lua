-- slow: notes that a domain asked for fewer mails: halves its rate, for all workers together.
-- KEYS[1] hash: domain or group to '<mails per minute> <server's time in ms when it was so>'
-- ARGV[1] domain or group  ARGV[2] rate of the first time  ARGV[3] least rate  ARGV[4] what a rate gains per minute
-- ARGV[5] rate at which it is over  ARGV[6] ms in which another reply changes nothing
-- returns 1 (halved) | 0 (was halved a moment ago)
-- invariant: no rate under the least, and nothing stays once every rate has come back to where it is over
local name, first, least, gain, over, settle = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]),
  tonumber(ARGV[5]), tonumber(ARGV[6])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local rate = first
local kept = redis.call('HGETALL', KEYS[1])
for at = 1, #kept, 2 do
  local had, since = string.match(kept[at + 1], '^(%S+) (%S+)$')
  local risen = tonumber(had) + gain * (now - since) / 60000
  if risen >= over then
    redis.call('HDEL', KEYS[1], kept[at])
  elseif kept[at] == name then
    if now - since < settle then return 0 end
    rate = risen / 2
  end
end
redis.call('HSET', KEYS[1], name, string.format('%.3f %.0f', math.max(least, rate), now))
redis.call('PEXPIRE', KEYS[1], math.ceil((over - least) / gain * 60000))
return 1
