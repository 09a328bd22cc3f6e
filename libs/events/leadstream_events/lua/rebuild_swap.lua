-- rebuild_swap: adds the last pages to a filled generation, makes it the live one, and leads the projection's group there.
-- KEYS[1] pointers  KEYS[2] rebuild state  KEYS[3] checkpoints  KEYS[4] dead letters  KEYS[5..] streams, then counters
-- ARGV[1] projection  ARGV[2] its group  ARGV[3] generation  ARGV[4] newest dead letter that was looked at  ARGV[5] how many
--         there were  ARGV[6] number of streams; then per stream its short name, the position that it must have there
--         ('': none yet), the position after its last page; then what rebuild_fold takes
-- returns {what, detail}
--   ok      done; the generation that was live until now is the detail, and is marked as retired
--   behind  the group has been handed entries of a stream (the detail) that the new generation has not counted yet
--   letters dead letters came or went since they were looked at
--   gone    somebody else fills this generation, or it is not being filled any more
-- invariant: afterwards the new generation has counted exactly what the group will not be handed any more. What was pending is
--         finished here, so that the commit of a worker that counted it into the old generation changes nothing
local pointers, state, checkpoints, dead = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local name, group, generation, newest, letters = unpack(ARGV, 1, 5)

local function later(one, other)
  local ms, seq = string.match(one, '^(%d+)-(%d+)$')
  local ms2, seq2 = string.match(other, '^(%d+)-(%d+)$')
  ms, ms2 = tonumber(ms), tonumber(ms2)
  return ms > ms2 or (ms == ms2 and tonumber(seq) > tonumber(seq2))
end

if redis.call('HGET', state, 'generation') ~= generation or redis.call('HEXISTS', state, 'adding') == 1 then
  return {'gone', ''}
end
local last, length = '0-0', 0
if redis.call('EXISTS', dead) == 1 then
  local info = redis.call('XINFO', 'STREAM', dead)
  for at = 1, #info, 2 do
    if info[at] == 'last-generated-id' then last = info[at + 1] end
  end
  length = redis.call('XLEN', dead)
end
if last ~= newest or length ~= tonumber(letters) then return {'letters', ''} end

local stands, counted, total = {}, {}, tonumber(ARGV[6])
for n = 5, 4 + total do
  local short, before, after = unpack(ARGV, 7 + 3 * (n - 5), 9 + 3 * (n - 5))
  if (redis.call('HGET', state, short) or '') ~= before then return {'gone', ''} end
  counted[n] = after == '' and '0-0' or after
  if redis.call('EXISTS', KEYS[n]) == 1 then
    for _, info in ipairs(redis.call('XINFO', 'GROUPS', KEYS[n])) do
      if info[2] == group then stands[n] = info[8] end
    end
  end
  if stands[n] and later(stands[n], counted[n]) then return {'behind', short} end
end
redis.call('HLEN', checkpoints) -- keys of a wrong type fail here, before anything is written
local live = redis.call('HGET', pointers, name) or '1'
redis.call('HSET', state, 'adding', 1) -- whatever fails from here on, this generation is never gone on with
fold(5 + total, 7 + 3 * total)

for n = 5, 4 + total do
  local stream = KEYS[n]
  while stands[n] do
    local page = redis.call('XPENDING', stream, group, '-', '+', 1000)
    if #page == 0 then break end
    local ids = {}
    for m, item in ipairs(page) do ids[m] = item[1] end
    redis.call('XACK', stream, group, unpack(ids))
  end
  if stands[n] then redis.call('XGROUP', 'SETID', stream, group, counted[n])
  else redis.call('XGROUP', 'CREATE', stream, group, counted[n], 'MKSTREAM') end
  redis.call('HSET', checkpoints, group .. ' ' .. stream, counted[n])
end
redis.call('HSET', pointers, name, generation, name .. ' version', redis.call('HGET', state, 'version'),
  name .. ' retired ' .. live, 1)
redis.call('HDEL', pointers, name .. ' doubtful')
redis.call('DEL', state)
return {'ok', live}
