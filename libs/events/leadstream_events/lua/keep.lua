-- keep: keeps a mail that came to our return path and is for a person, once, and lets go of the oldest.
-- KEYS[1] stream of kept mails  KEYS[2] their digests
-- ARGV[1] digest  ARGV[2] most mails  ARGV[3] most milliseconds that one is kept  ARGV[4..] fields of the entry;
--         without fields it only lets go of what is too old
-- returns the entry id | '' when it is kept already, or there is none to keep
-- invariant: a mail that is delivered again is kept once; there are never more than ARGV[2]
local kept, digests, digest = KEYS[1], KEYS[2], ARGV[1]
local most, lifetime = tonumber(ARGV[2]), tonumber(ARGV[3])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local oldest = string.format('%.0f', now - lifetime)

redis.call('XTRIM', kept, 'MINID', '=', oldest)
redis.call('ZREMRANGEBYSCORE', digests, '-inf', '(' .. oldest)
if #ARGV < 4 or redis.call('ZSCORE', digests, digest) then return '' end
local id = redis.call('XADD', kept, 'MAXLEN', '=', most, '*', unpack(ARGV, 4))
redis.call('ZADD', digests, now, digest)
redis.call('ZREMRANGEBYRANK', digests, 0, -most - 1)
return id
