-- report: stores what came back about a mail, once per report however often it is told.
-- KEYS[1] ledger of the lead  KEYS[2] outcomes
-- ARGV[1] mail id  ARGV[2] report id (no blanks)  ARGV[3] what it counts as (bounced | complained)
-- ARGV[4] most reports of one mail  ARGV[5] event id  ARGV[6] number of field arguments of the event if it is the first
--         of its mail that counts so, then those; then the same for a later one
-- returns {what, event id}
--   new     stored just now
--   open    stored before, and what follows from it may not have been done
--   done    stored before, with everything that follows from it
--   unknown no such mail
--   full    the mail has so many reports that one more tells nothing
-- invariant: a report is stored once, and a mail counts once as bounced and once as complained
local ledger, outcomes = KEYS[1], KEYS[2]
local mail, report, metric, most, event = unpack(ARGV, 1, 5)

if redis.call('HEXISTS', ledger, mail) == 0 then return {'unknown', ''} end
local mark = 'report ' .. mail .. ' ' .. report
local before = redis.call('HGET', ledger, mark)
if before then
  local id, state = string.match(before, '^(%S+) (%S+)$')
  return {state, id}
end
local total, counted = 'reports ' .. mail, 'counted ' .. mail .. ' ' .. metric
local count = tonumber(redis.call('HGET', ledger, total) or 0)
if count >= tonumber(most) then return {'full', ''} end
redis.call('XLEN', outcomes) -- a key of a wrong type fails here, before anything is written

local first, size = 7, tonumber(ARGV[6])
if redis.call('HEXISTS', ledger, counted) == 1 then
  first = first + size + 1
  size = tonumber(ARGV[first - 1])
end
redis.call('XADD', outcomes, '*', unpack(ARGV, first, first + size - 1))
redis.call('HSET', ledger, mark, event .. ' open', total, count + 1, counted, 1)
return {'new', event}
