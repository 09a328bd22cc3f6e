-- phase: notes that the content of mails is about to go out; the last look before the point of no return.
-- KEYS    ledgers of the leads
-- ARGV[1] owner  ARGV[2] phase; then per mail: ledger key number, mail id, attempt
-- returns per mail 1 (noted) | 0 (the mail is not this owner's attempt any more: do not send)
local owner, phase = ARGV[1], ARGV[2]
local clock = redis.call('TIME')
local now = string.format('%.0f', clock[1] * 1000 + math.floor(clock[2] / 1000))
local out = {}

for at = 3, #ARGV, 3 do
  local ledger, mail, attempt = KEYS[tonumber(ARGV[at])], ARGV[at + 1], ARGV[at + 2]
  local row = redis.call('HGET', ledger, mail) or ''
  local state, attempts, unknowns, by, _, _, entry = string.match(
    row, '^(%S+) (%d+) (%d+) (%S+) (%S+) (%d+) (%S+)$')
  local held = state == 'sending' and attempts == attempt and by == owner
  if held then
    redis.call('HSET', ledger, mail, table.concat({state, attempts, unknowns, owner, phase, now, entry}, ' '))
  end
  out[#out + 1] = held and 1 or 0
end
return out
