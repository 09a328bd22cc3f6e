-- redrive: closes a dead letter once; in the same step its mail begins again, its group gets its entry again, or it ends.
-- KEYS[1] dead letters  KEYS[2] turn  KEYS[3] ledger of the lead  KEYS[4] outcomes  KEYS[5] stream that the letter came from
-- KEYS[6] due of its group
-- ARGV[1] token of the turn  ARGV[2] entry id of the letter ('': none is open)  ARGV[3] mail id ('': none)
-- ARGV[4] row that the mail must have  ARGV[5] row that it gets  ARGV[6] append | deliver | end
-- ARGV[7] group  ARGV[8] parking consumer  ARGV[9] entry id to deliver again  ARGV[10] its member in due
-- ARGV[11] number of field arguments to append to KEYS[5], then those; then per outcome: number of them, then those
-- returns {what, detail}
--   ok      done; the detail is the id of the appended entry, or ''
--   lost    the turn is somebody else's by now
--   gone    the letter was closed before
--   changed the mail's row is another one by now
--   unread  a group of the dead letters (the detail) has not finished the letter: deleting it would lose it for that group
--   trimmed the entry to deliver again is not in its stream any more
-- invariant: a letter is closed once, and a mail begins again once, whoever asks how often at the same time
local dead, turn, ledger, outcomes, stream, due = unpack(KEYS)
local token, letter, mail, before, after, how = unpack(ARGV, 1, 6)
local group, parking, entry, member = unpack(ARGV, 7, 10)

local function later(id, than)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  local ms2, seq2 = string.match(than, '^(%d+)-(%d+)$')
  return tonumber(ms) > tonumber(ms2) or (ms == ms2 and tonumber(seq) > tonumber(seq2))
end

if redis.call('GET', turn) ~= token then return {'lost', ''} end
if letter ~= '' then
  if #redis.call('XRANGE', dead, letter, letter) == 0 then return {'gone', ''} end
  for _, info in ipairs(redis.call('XINFO', 'GROUPS', dead)) do
    if later(letter, info[8]) or #redis.call('XPENDING', dead, info[2], letter, letter, 1) > 0 then
      return {'unread', info[2]}
    end
  end
end
if mail ~= '' and (redis.call('HGET', ledger, mail) or '') ~= before then return {'changed', ''} end
if how == 'deliver' and #redis.call('XRANGE', stream, entry, entry) == 0 then return {'trimmed', ''} end
redis.call('XLEN', stream) -- keys of a wrong type fail here, before anything is written
redis.call('XLEN', outcomes)

local at, added = 11, ''
local function fields()
  local first, count = at + 1, tonumber(ARGV[at])
  at = first + count
  return first, at - 1
end

local first, last = fields()
if how == 'append' then added = redis.call('XADD', stream, '*', unpack(ARGV, first, last)) end
if how == 'deliver' then
  local clock = redis.call('TIME')
  redis.call('XCLAIM', stream, group, parking, 0, entry, 'FORCE', 'JUSTID')
  redis.call('ZADD', due, string.format('%.0f', clock[1] * 1000), member)
end
while at <= #ARGV do
  first, last = fields()
  redis.call('XADD', outcomes, '*', unpack(ARGV, first, last))
end
if mail ~= '' then redis.call('HSET', ledger, mail, after) end
if letter ~= '' then redis.call('XDEL', dead, letter) end
redis.call('DEL', turn)
return {'ok', added}
