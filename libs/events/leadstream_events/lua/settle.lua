-- settle: turns a reserved lead into a sent one, or gives it back.
-- KEYS    per mail: reserved set, quota hash
-- ARGV    per mail: mail id, sent (1 | 0), time
-- returns per mail 1 (settled now) | 0 (nothing was reserved: settled before)
-- invariant: each reservation is counted at most once, however often the outcome is delivered
local out = {}
for n = 1, #KEYS / 2 do
  local reserved, quota = KEYS[2 * n - 1], KEYS[2 * n]
  local mail, sent, time = ARGV[3 * n - 2], ARGV[3 * n - 1], ARGV[3 * n]
  local had = redis.call('SREM', reserved, mail)
  if had == 1 and sent == '1' then
    redis.call('HINCRBY', quota, 'sent', 1)
    redis.call('HSET', quota, 'last_sent', time)
  end
  out[n] = had
end
return out
