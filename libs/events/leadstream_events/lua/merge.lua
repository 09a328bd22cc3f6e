-- merge: stores what was done for one lead while Redis was away, all in one step.
-- KEYS[1] leads  KEYS[2] ledger of the lead  KEYS[3] emails  KEYS[4] outcomes  KEYS[5] dead letters  KEYS[6] keys of leads
-- ARGV[1] fingerprint  ARGV[2] id of this merge  ARGV[3] token for the lead's entry id  ARGV[4] token for the request's
--         entry id  ARGV[5] lead id  ARGV[6] wrapped key of the sealed lead ('': none)
--         ARGV[7] number of field arguments of LeadReceived, then those; the number of field arguments of the
--         dead letter for a body that lost against another one, then those; then per mail
--   mail id, 1 if it was sent else 0, ledger row, number of field arguments of EmailRequested, those, number of events;
--   per event: when (own | mark | copy), number of the stream's key, number of field arguments, those
--   own   what became of the mail; appended unless the stream path got further with it
--   mark  an attempt whose outcome is unknown; always appended
--   copy  says that the mail went twice; appended if the stream path sent it too
-- returns {1 stored | 0 the lead was there | -1 another body was there | 2 merged before, entry id, copies}
-- invariant: merging again changes nothing; a mail that was sent here is never sent by a worker that has not begun it;
--         a lead that was erased gets no key again
local leads, ledger = KEYS[1], KEYS[2]
local fingerprint, merge, lead_token, mail_token = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local lead, key = ARGV[5], ARGV[6]
local at = 7

local function block()
  local count = tonumber(ARGV[at])
  local first = at + 1
  at = first + count
  return first, count
end

local function replaced(text, token, id)
  local from, to = string.find(text, token, 1, true)
  while from do
    text = string.sub(text, 1, from - 1) .. id .. string.sub(text, to + 1)
    from, to = string.find(text, token, from + #id, true)
  end
  return text
end

local function add(stream, first, count, lead_id, mail_id)
  local fields = {}
  for n = first, first + count - 1 do
    fields[#fields + 1] = replaced(replaced(ARGV[n], lead_token, lead_id), mail_token, mail_id)
  end
  return redis.call('XADD', stream, '*', unpack(fields))
end

local had = redis.call('HGET', ledger, 'lead')
local known = redis.call('HGET', KEYS[6], lead)
local status, id = 1, nil
local first, count = block()
local dead_first, dead_count = block()
if had then
  local before
  id, before = string.match(had, '^(%S+) (%S+)')
  if string.find(had, merge, 1, true) then return {2, id, 0} end
  status = (before == fingerprint or before == 'erased' or fingerprint == 'erased') and 0 or -1
  redis.call('HSET', ledger, 'lead', had .. ' ' .. merge)
  if status == -1 then
    add(KEYS[5], dead_first, dead_count, id, '-')
    if key ~= '' and known ~= 'erased' then redis.call('HSET', KEYS[6], lead, known and known .. ' ' .. key or key) end
  end
else
  id = add(leads, first, count, '-', '-')
  redis.call('HSET', ledger, 'lead', id .. ' ' .. (known == 'erased' and known or fingerprint) .. ' ' .. merge)
  if key ~= '' and known ~= 'erased' then redis.call('HSET', KEYS[6], lead, key) end
end

local copies = 0
while at <= #ARGV do
  local mail, sent, row = ARGV[at], ARGV[at + 1] == '1', ARGV[at + 2]
  at = at + 3
  local request, size = block()
  local events = tonumber(ARGV[at])
  at = at + 1
  local before = redis.call('HGET', ledger, mail)
  local twice = sent and before and string.sub(before, 1, 5) == 'sent '
  local own = not before or (sent and not twice)
  local entry = before and string.match(before, '(%S+)$') or '-'
  if own and not before then entry = add(KEYS[3], request, size, id, '-') end
  if own then redis.call('HSET', ledger, mail, replaced(row, mail_token, entry)) end
  if twice then copies = copies + 1 end
  for _ = 1, events do
    local when, stream = ARGV[at], KEYS[tonumber(ARGV[at + 1])]
    at = at + 2
    local from, many = block()
    if when == 'mark' or (when == 'own' and own) or (when == 'copy' and twice) then
      add(stream, from, many, id, entry)
    end
  end
end
return {status, id, copies}
