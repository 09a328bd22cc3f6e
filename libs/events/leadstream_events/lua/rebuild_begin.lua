-- rebuild_begin: opens a new generation of a projection to be filled, or finds the one that is being filled already.
-- KEYS[1] pointers  KEYS[2] rebuild state
-- ARGV[1] projection  ARGV[2] version of its definition  ARGV[3] dead letters whose entries are left out
--         ARGV[4] generation to give up ('': none)  ARGV[5] 1: begin one if none is being filled, 0: do not
-- returns the rebuild state as it is now: field, value, ...
-- invariant: a generation number is never used twice, and no generation is forgotten before its keys are deleted
local pointers, state = KEYS[1], KEYS[2]
local name, version, letters, given_up, begin = unpack(ARGV, 1, 5)

local filling = redis.call('HGET', state, 'generation')
if filling and filling == given_up then
  redis.call('HSET', pointers, name .. ' retired ' .. filling, 1)
  redis.call('DEL', state)
  filling = false
end
if not filling and begin == '1' then
  local live = tonumber(redis.call('HGET', pointers, name) or 1)
  local newest = math.max(live, tonumber(redis.call('HGET', pointers, name .. ' newest') or 1)) + 1
  redis.call('HSET', pointers, name .. ' newest', newest)
  redis.call('HSET', state, 'generation', newest, 'version', version, 'letters', letters, 'done', 0)
end
return redis.call('HGETALL', state)
