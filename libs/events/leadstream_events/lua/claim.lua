-- claim: takes orphans from dead consumers and makes them due now, so that any living worker gets them at once.
-- KEYS[1] stream  KEYS[2] due  KEYS[3] operations
-- ARGV[1] group  ARGV[2] parking consumer  ARGV[3] idle ms that an entry must have  ARGV[4] short name of the stream
-- ARGV[5] number of entry ids, then those; then the fields of the event, whose data (the
--         last of them) holds "count":0 and ["@"] where number and ids of what was taken belong
-- returns the ids that were taken
-- invariant: only what is still idle is taken: an entry that a worker took up meanwhile stays with it
local stream, due, operations = KEYS[1], KEYS[2], KEYS[3]
local group, parking, idle, name, total = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5])
local clock = redis.call('TIME')
local now = string.format('%.0f', clock[1] * 1000)
redis.call('XLEN', operations) -- keys of a wrong type fail here, before anything is written
redis.call('ZCARD', due)

local taken = {}
for at = 6, 5 + total do
  local id = ARGV[at]
  local there = #redis.call('XRANGE', stream, id, id) > 0
  local held = redis.call('XPENDING', stream, group, id, id, 1)[1]
  if there and held and held[2] == parking then
    -- parked, yet in no queue: nobody would ever look for it
    if not redis.call('ZSCORE', due, name .. ' ' .. id) then
      redis.call('ZADD', due, now, name .. ' ' .. id)
      taken[#taken + 1] = id
    end
  elseif there and held and held[3] >= idle and #redis.call('XCLAIM', stream, group, parking, idle, id, 'JUSTID') > 0 then
    redis.call('ZADD', due, now, name .. ' ' .. id)
    taken[#taken + 1] = id
  end
end
if #taken > 0 then
  local fields, named = {}, {}
  for at = 6 + total, #ARGV do fields[#fields + 1] = ARGV[at] end
  for at = 1, math.min(#taken, 100) do named[at] = '"' .. taken[at] .. '"' end
  local data = string.gsub(fields[#fields], '"count":0', '"count":' .. #taken, 1)
  fields[#fields] = string.gsub(data, '%["@"%]', '[' .. table.concat(named, ',') .. ']', 1)
  redis.call('XADD', operations, '*', unpack(fields))
end
return taken
