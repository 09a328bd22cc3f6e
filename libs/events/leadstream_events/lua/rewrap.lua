-- rewrap: stores keys of leads wrapped anew, each only if it is still what was read.
-- KEYS[1] keys of leads
-- ARGV    per key: lead id, what was read, what it becomes
-- returns how many were stored
-- invariant: a key that was erased or added meanwhile is never overwritten
local keys, stored = KEYS[1], 0
for at = 1, #ARGV, 3 do
  if redis.call('HGET', keys, ARGV[at]) == ARGV[at + 1] then
    redis.call('HSET', keys, ARGV[at], ARGV[at + 2])
    stored = stored + 1
  end
end
return stored
