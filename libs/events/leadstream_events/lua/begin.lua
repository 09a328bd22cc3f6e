-- begin: asks for the right to attempt mails; writes each attempt down before anybody dials.
-- KEYS    ledgers of the leads
-- ARGV[1] owner  ARGV[2] attempts in all  ARGV[3] lease in ms; then per mail: ledger key number, mail id,
--         entry id, number of an attempt of this owner whose content surely did not go out (0: none)
-- row     state attempts unknowns owner phase at_ms entry
-- returns per mail {verdict, attempts, unknowns, state}
--   go         send it now, as this attempt
--   erased     as go, but its lead was erased: it is not to be sent
--   unknown    an earlier attempt was cut off after DATA; the row is as it was
--   exhausted  every attempt is used up
--   done       it has reached a final state already
--   busy       another entry of the same mail is being sent
-- invariant: no two workers hold the same mail; an attempt cut off before DATA was no attempt and is not counted
local owner, limit, lease = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local final = {sent = true, failed = true, skipped = true, held = true}
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local out = {}

for at = 4, #ARGV, 4 do
  local ledger, mail, entry = KEYS[tonumber(ARGV[at])], ARGV[at + 1], ARGV[at + 2]
  local row = redis.call('HGET', ledger, mail)
  local state, attempts, unknowns, holder, phase, since, by = string.match(
    row or '', '^(%S+) (%d+) (%d+) (%S+) (%S+) (%d+) (%S+)$')
  attempts, unknowns = tonumber(attempts or 0), tonumber(unknowns or 0)
  local verdict
  if final[state] then
    verdict = 'done'
  elseif state == 'sending' and by ~= entry and now - since < lease then
    verdict = 'busy'
  elseif state == 'sending' and phase == 'data' and (holder ~= owner or attempts ~= tonumber(ARGV[at + 3])) then
    verdict = 'unknown'
  elseif state ~= 'sending' and attempts >= limit then
    verdict = 'exhausted'
  else
    local lead = redis.call('HGET', ledger, 'lead')
    verdict = lead and string.find(lead, '^%S+ erased') and 'erased' or 'go'
    if state ~= 'sending' then attempts = attempts + 1 end
    redis.call('HSET', ledger, mail,
      table.concat({'sending', attempts, unknowns, owner, 'begin', string.format('%.0f', now), entry}, ' '))
  end
  out[#out + 1] = {verdict, attempts, unknowns, state or 'requested'}
end
return out
