-- due: hands parked entries whose time has come to one consumer.
-- KEYS[1] due  KEYS[2..] streams
-- ARGV[1] group  ARGV[2] consumer  ARGV[3] how many at the most  ARGV[4..] stream names, in the order of KEYS[2..]
-- returns {ms until the next one or -1, {{stream number, entry id, fields or false}, ...}}; false: the entry is gone
-- invariant: an entry leaves `due` only into the hands of a consumer, whose lease then guards it, or once it is finished
local due, group, me, limit = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local number, out = {}, {}
local again = 60000
for n = 4, #ARGV do number[ARGV[n]] = n - 3 end

for _, member in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', now, 'LIMIT', 0, limit)) do
  local name, id = string.match(member, '^(%S+) (%S+)$')
  local stream = number[name] and KEYS[1 + number[name]]
  if stream then
    local entry = redis.call('XRANGE', stream, id, id)
    if #entry > 0 then redis.call('ZREM', due, member) end
    if #entry == 0 and #redis.call('XPENDING', stream, group, id, id, 1) > 0 then
      -- Not claimed: XCLAIM would drop it from the pending list, and the loss could not be recorded with its XACK.
      -- It stays here, for nobody would look for it again if this consumer died before that.
      redis.call('ZADD', due, now + again, member)
      out[#out + 1] = {number[name], id, false}
    elseif #entry == 0 then
      redis.call('ZREM', due, member)
    elseif #redis.call('XCLAIM', stream, group, me, 0, id, 'JUSTID') > 0 then
      out[#out + 1] = {number[name], id, entry[1][2]}
    end
  end
end
local next = redis.call('ZRANGE', due, 0, 0, 'WITHSCORES')
return {next[2] and math.max(0, math.ceil(next[2] - now)) or -1, out}
