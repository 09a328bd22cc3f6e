-- daily: whose turn it is to do what is done once a day, how far that has come, and how it ended.
-- KEYS[1] state
-- ARGV[1] day (YYYY-MM-DD)  ARGV[2] who asks  ARGV[3] take | commit | end  ARGV[4] ms after which a silent owner is dead
--         for `end` also: ARGV[5] done | failed | unknown | later; then fields and values to keep from this day on
-- returns for take   yours | busy (somebody else does it) | done (it ended)
--                    | lost (its owner died after `commit`: the day is `unknown` now)
--         for commit, end   ok | not yours
-- invariant: after `commit` (from here on it cannot be told whether it happened) a day is never given to anybody again
local state, day, who, what, dead_ms = KEYS[1], unpack(ARGV, 1, 4)
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local known = redis.call('HMGET', state, 'day', 'phase', 'owner', 'at_ms')
local same = known[1] == day
local phase, owner, idle = same and known[2] or 'none', known[3], now - tonumber(known[4] or 0)

if what == 'take' then
  if phase == 'done' or phase == 'failed' or phase == 'unknown' then return 'done' end
  if known[1] and known[1] > day then return 'done' end -- a clock that is behind
  if phase == 'committed' then
    if idle < tonumber(dead_ms) then return 'busy' end
    redis.call('HSET', state, 'phase', 'unknown', 'at_ms', now)
    return 'lost'
  end
  if phase == 'begun' and idle < tonumber(dead_ms) then return 'busy' end
  redis.call('HSET', state, 'day', day, 'phase', 'begun', 'owner', who, 'at_ms', now, 'why', '')
  return 'yours'
end
if not same or owner ~= who or (phase ~= 'begun' and phase ~= 'committed') then return 'not yours' end
if what == 'commit' then
  if phase ~= 'begun' then return 'not yours' end
  redis.call('HSET', state, 'phase', 'committed', 'at_ms', now)
else
  redis.call('HSET', state, 'phase', ARGV[5], 'at_ms', now, 'owner', who, unpack(ARGV, 6))
end
return 'ok'
