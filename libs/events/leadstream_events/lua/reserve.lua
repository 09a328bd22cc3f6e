-- reserve: sets purchased leads aside for mails of one lead, before those mails are requested.
-- KEYS    per mail: reserved set, quota hash
-- ARGV    per mail: mail id, leads purchased (-1: no limit)
-- returns per mail 1 (reserved, now or before) | 0 (nothing left)
-- invariant: sent + reserved never passes purchased; asking again for the same mail changes nothing
local out = {}
for n = 1, #KEYS / 2 do
  local reserved, quota = KEYS[2 * n - 1], KEYS[2 * n]
  local mail, purchased = ARGV[2 * n - 1], tonumber(ARGV[2 * n])
  local ok = purchased < 0 or redis.call('SISMEMBER', reserved, mail) == 1
    or tonumber(redis.call('HGET', quota, 'sent') or 0) + redis.call('SCARD', reserved) < purchased
  if ok then redis.call('SADD', reserved, mail) end
  out[n] = ok and 1 or 0
end
return out
