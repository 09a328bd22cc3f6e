-- events_forget: deletes events of subscribers and suppressions so that not even their bytes stay.
-- KEYS[1] events  KEYS[2] name of the copy, which does not outlive the script
-- ARGV    entry ids
-- returns how many were deleted
-- invariant: all other entries keep their ids, and the next one gets a later id than any before
-- XDEL only marks an entry of a node that holds others: memory, dumps and a rewritten AOF go on holding it. So the stream
-- is copied, which no group hinders: nobody makes any here.
local events, copy = KEYS[1], KEYS[2]
local page = 1000
local deleted = redis.call('XDEL', events, unpack(ARGV))
if deleted == 0 or redis.call('XLEN', events) == 0 or #redis.call('XINFO', 'GROUPS', events) > 0 then return deleted end

local info, last = redis.call('XINFO', 'STREAM', events), nil
for at = 1, #info, 2 do
  if info[at] == 'last-generated-id' then last = info[at + 1] end
end
redis.call('DEL', copy)
local from = '-'
repeat
  local found = redis.call('XRANGE', events, from, '+', 'COUNT', page)
  for _, entry in ipairs(found) do
    redis.call('XADD', copy, entry[1], unpack(entry[2]))
    from = '(' .. entry[1]
  end
until #found < page
redis.call('XSETID', copy, last)
redis.call('RENAME', copy, events)
return deleted
