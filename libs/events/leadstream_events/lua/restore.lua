-- restore: stores an imported entry under the id that it had, and leads the working group past it in the same step.
-- KEYS[1] stream  KEYS[2] checkpoints  KEYS[3] ledger of the lead  KEYS[4..] what the effects touch
-- ARGV[1] entry id  ARGV[2] event id ('': it has none, and is the same if every field is)
-- ARGV[3] group that must not do it ('': none)  ARGV[4] ledger field ('': none)
-- ARGV[5] its value; for a mail `state attempts unknowns at_ms`  ARGV[6] number of effects, then per effect HSET | HDEL,
--         key number, field, value ('' for HDEL); then the fields of the entry
-- returns 1 stored | 0 it is there already | -1 another event has this id | -2 newer entries are there |
--         -3 the group has entries before it still to read
-- invariant: no group that sends or requests is ever handed an imported entry, also when it is created again later;
--         a mail that was sent stays sent
local stream, checkpoints, ledger = KEYS[1], KEYS[2], KEYS[3]
local id, event, group, field, value, effects = unpack(ARGV, 1, 6)

local at = 7 + 4 * tonumber(effects)

local there = redis.call('XRANGE', stream, id, id)[1]
if there then
  local same = #there[2] == #ARGV - at + 1
  for number, part in ipairs(there[2]) do
    if event ~= '' and number % 2 == 1 and part == 'id' and there[2][number + 1] == event then return 0 end
    same = same and part == ARGV[at + number - 1]
  end
  return same and 0 or -1
end
local function later(one, other)
  local ms, seq = string.match(one, '^(%d+)-(%d+)$')
  local ms2, seq2 = string.match(other, '^(%d+)-(%d+)$')
  return tonumber(ms) > tonumber(ms2) or (ms == ms2 and tonumber(seq) > tonumber(seq2))
end
local newest = redis.call('EXISTS', stream) == 1 and redis.call('XINFO', 'STREAM', stream)[8] or '0-0'
if not later(id, newest) then return -2 end
if group ~= '' then
  redis.pcall('XGROUP', 'CREATE', stream, group, '0', 'MKSTREAM')
  for _, info in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    if info[2] == group and #redis.call('XRANGE', stream, '(' .. info[8], '+', 'COUNT', 1) > 0 then return -3 end
  end
end

redis.call('XADD', stream, id, unpack(ARGV, at))
if group ~= '' then
  redis.call('XGROUP', 'SETID', stream, group, id)
  local pending = redis.call('XPENDING', stream, group)
  local first = type(pending[2]) == 'string' and '<' .. pending[2]
  redis.call('HSET', checkpoints, group .. ' ' .. stream, first or id)
end
if field == 'lead' then
  -- Fan-out has been through it, as `ledger.py` notes that: also a fan-out that is set back requests nothing for it.
  redis.call('HSET', ledger, field, value, 'fanout', id)
elseif field ~= '' then
  local state, attempts, unknowns, ms = string.match(value, '^(%S+) (%d+) (%d+) (%d+)$')
  local known = redis.call('HGET', ledger, field) or ''
  local was, tried, before, entry = string.match(known, '^(%S+) (%d+) (%d+) %S+ %S+ %d+ (%S+)$')
  -- What is told of a mail after it was sent (a copy of it went, say) does not make it one that waits for a person.
  if was == 'sent' then state, attempts = was, tried end
  if string.match(stream, ':emails$') then entry = id end
  unknowns = tonumber(unknowns) + tonumber(before or 0)
  redis.call('HSET', ledger, field, table.concat({state, attempts, unknowns, '-', '-', ms, entry or '-'}, ' '))
end
for number = 0, tonumber(effects) - 1 do
  local first = 7 + 4 * number
  local key = KEYS[tonumber(ARGV[first + 1])]
  if ARGV[first] == 'HSET' then redis.call('HSET', key, ARGV[first + 2], ARGV[first + 3])
  else redis.call('HDEL', key, ARGV[first + 2]) end
end
return 1
