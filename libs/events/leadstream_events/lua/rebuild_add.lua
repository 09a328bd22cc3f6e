-- rebuild_add: adds what a page of one stream comes to to a generation that is being filled, once.
-- KEYS[1] rebuild state  KEYS[2..] counters
-- ARGV[1] generation  ARGV[2] stream  ARGV[3] position that it must have there ('': none yet)  ARGV[4] position after
--         ARGV[5] entries in the page; then what rebuild_fold takes
-- returns 1 added | 0 somebody else fills it, or this page was added before: nothing was changed
--         | -1 an earlier page was cut off in the middle: give this generation up
-- invariant: position and counters change together, so whoever is killed when, each entry counts once
local state, generation, stream, before, after, entries = KEYS[1], unpack(ARGV, 1, 5)

if redis.call('HGET', state, 'generation') ~= generation then return 0 end
if redis.call('HEXISTS', state, 'adding') == 1 then return -1 end
if (redis.call('HGET', state, stream) or '') ~= before then return 0 end
redis.call('HSET', state, 'adding', 1, stream, after)
redis.call('HINCRBY', state, 'done', entries)
fold(2, 6)
redis.call('HDEL', state, 'adding')
return 1
