-- commit: finishes or parks entries of one group, each together with everything that follows from it.
-- KEYS[1] checkpoints  KEYS[2..] every key the batch touches; the arguments name them by number
-- ARGV[1] group  ARGV[2] consumer  ARGV[3] parking consumer  ARGV[4] number of entries; then per entry
--   stream key, entry id (for ack also several, with blanks between), verb (ack | park), fence key or 0, fence field, fence prefix, number of effects; per effect
--   command, key, number of arguments, arguments
--   ONCE field value n   sets a hash field if it is absent, else skips the next n effects
--   MAX field value      sets a hash field unless it holds a greater text: the order of events does not matter
--   DUE member delay_ms  puts a member into a sorted set, scored by the server's time plus the delay
-- returns per entry 1 (done) | 0 (was not ours any more: nothing was changed)
-- fails with WRONGTYPE, and changes nothing, when a key is of another type than its command needs
-- invariant: an effect happens exactly once, because the entry (or its ledger row) stops being ours with it
local group, me, parking, total = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local at, streams, out = 5, {}, {}
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

-- A command that fails after the XACK would lose the entry: nothing is rolled back. So types are looked at before.
local needs = {
  XADD = 'stream', HSET = 'hash', HINCRBY = 'hash', ONCE = 'hash', MAX = 'hash', DUE = 'zset', SADD = 'set'
}
local function misfit()
  local first, fits = at, {}
  for _ = 1, total do
    local effects = tonumber(ARGV[first + 6])
    first = first + 7
    for _ = 1, effects do
      local key, need = ARGV[first + 1], needs[ARGV[first]]
      if need and not fits[key] then
        local kind = redis.call('TYPE', KEYS[tonumber(key)]).ok
        if kind ~= need and kind ~= 'none' then return KEYS[tonumber(key)] .. ' is a ' .. kind end
        fits[key] = true
      end
      first = first + 3 + tonumber(ARGV[first + 2])
    end
  end
end
local wrong = misfit()
if wrong then return redis.error_reply('WRONGTYPE ' .. wrong) end

-- Several entries share their effects as sums: all of them are acknowledged, or none. One look at what is pending for
-- this consumer, which is little more than its batch, is cheaper than one look per entry.
local function all_ours(stream, ids)
  local list, pending = {}, {}
  for id in string.gmatch(ids, '%S+') do list[#list + 1] = id end
  for _, item in ipairs(redis.call('XPENDING', stream, group, '-', '+', 2 * #list + 100, me)) do pending[item[1]] = true end
  for _, id in ipairs(list) do
    if not pending[id] then return false end
  end
  redis.call('XACK', stream, group, unpack(list))
  return true
end

local function ours(stream, id, verb, ledger, field, prefix)
  if string.find(id, ' ', 1, true) then return all_ours(stream, id) end
  if ledger > 0 then
    local row = redis.call('HGET', KEYS[ledger], field)
    if not row or string.sub(row, 1, #prefix) ~= prefix then return false end
  elseif verb == 'park' then
    return #redis.call('XPENDING', stream, group, id, id, 1, me) > 0
  end
  local acked = verb == 'ack' and redis.call('XACK', stream, group, id)
  return ledger > 0 or acked == 1
end

local function effect(command, key, first, count)
  if command == 'ONCE' then
    if redis.call('HSETNX', key, ARGV[first], ARGV[first + 1]) == 0 then return tonumber(ARGV[first + 2]) end
  elseif command == 'MAX' then
    local had = redis.call('HGET', key, ARGV[first])
    if not had or had < ARGV[first + 1] then redis.call('HSET', key, ARGV[first], ARGV[first + 1]) end
  elseif command == 'DUE' then
    redis.call('ZADD', key, now + ARGV[first + 1], ARGV[first])
  else
    redis.call(command, key, unpack(ARGV, first, first + count - 1))
  end
  return 0
end

for n = 1, total do
  local stream, id, verb = KEYS[tonumber(ARGV[at])], ARGV[at + 1], ARGV[at + 2]
  local go = ours(stream, id, verb, tonumber(ARGV[at + 3]), ARGV[at + 4], ARGV[at + 5])
  local effects, skip = tonumber(ARGV[at + 6]), 0
  streams[stream] = true
  at = at + 7
  if go and verb == 'park' then redis.call('XCLAIM', stream, group, parking, 0, id, 'JUSTID') end
  for _ = 1, effects do
    local count = tonumber(ARGV[at + 2])
    if skip > 0 then skip = skip - 1
    elseif go then skip = effect(ARGV[at], KEYS[tonumber(ARGV[at + 1])], at + 3, count) end
    at = at + 3 + count
  end
  out[n] = go and 1 or 0
end

for stream in pairs(streams) do
  local pending = redis.pcall('XPENDING', stream, group)
  local mark = type(pending[2]) == 'string' and '<' .. pending[2]
  if not mark and not pending.err then
    for _, info in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
      if info[2] == group then mark = info[8] end
    end
  end
  if mark then redis.call('HSET', KEYS[1], group .. ' ' .. stream, mark) end
end
return out
