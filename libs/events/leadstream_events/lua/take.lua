-- take: hands out tokens to start sends, under every limit that applies, for all workers together.
-- KEYS    one sorted set per limit: its granted tokens, scored by the server's time in ms
-- ARGV[1] request id  ARGV[2] number of limits; per limit: count, span in ms; then per mail its limits' numbers
--         with commas between
-- returns per mail two numbers: 0 (granted; the token is '<request id>:<mail number>', numbers from 0) or the ms
--         after which to ask again; and the number of the limit that stands in the way
-- invariant: in no span does a limit hand out more than its count (a sliding log, not fixed windows)
local request, limits = ARGV[1], tonumber(ARGV[2])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local count, span, used, out = {}, {}, {}, {}

for n = 1, limits do
  count[n], span[n] = tonumber(ARGV[1 + 2 * n]), tonumber(ARGV[2 + 2 * n])
  redis.call('ZREMRANGEBYSCORE', KEYS[n], '-inf', now - span[n])
  used[n] = redis.call('ZCARD', KEYS[n])
end

local function wait(n)
  if used[n] < count[n] then return 0 end
  local at = used[n] - count[n]
  local oldest = redis.call('ZRANGE', KEYS[n], at, at, 'WITHSCORES')
  return math.max(1, math.ceil(oldest[2] + span[n] - now))
end

for at = 3 + 2 * limits, #ARGV do
  local delay, blocking, mine = 0, 0, {}
  for n in string.gmatch(ARGV[at], '%d+') do
    n = tonumber(n)
    mine[#mine + 1] = n
    local longer = wait(n)
    if longer > delay then delay, blocking = longer, n end
  end
  if delay == 0 then
    for _, n in ipairs(mine) do
      redis.call('ZADD', KEYS[n], now, request .. ':' .. #out / 2)
      redis.call('PEXPIRE', KEYS[n], span[n] + 1000)
      used[n] = used[n] + 1
    end
  end
  out[#out + 1] = delay
  out[#out + 1] = blocking
end
return out
