-- erase: destroys the key of a lead, forgets the fingerprint of its body, and says so in the stream, once.
-- KEYS[1] leads  KEYS[2] ledger of the lead  KEYS[3] keys of leads
-- ARGV[1] lead id  ARGV[2..] fields of LeadErased
-- returns {1 erased | 0 it was erased before | -1 no such lead, its entry id or ''}
-- invariant: afterwards no copy of what was sealed can be opened, and nothing stores a key for it again
local leads, ledger, keys = KEYS[1], KEYS[2], KEYS[3]
local lead = ARGV[1]
local had = redis.call('HGET', ledger, 'lead')
local key = redis.call('HGET', keys, lead)
if not had and not key then return {-1, ''} end

local id, before, rest = string.match(had or '', '^(%S+) (%S+)(.*)$')
local again = key == 'erased' and (not had or before == 'erased')
if again then return {0, id or ''} end
redis.call('XADD', leads, '*', unpack(ARGV, 2))
redis.call('HSET', keys, lead, 'erased')
if had then redis.call('HSET', ledger, 'lead', id .. ' erased' .. rest) end
return {1, id or ''}
