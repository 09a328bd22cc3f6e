-- retire: removes a consumer that owns nothing. XGROUP DELCONSUMER would drop its pending entries.
-- KEYS[1] stream  ARGV[1] group  ARGV[2] consumer
-- returns 1 removed | 0 kept, because entries are pending for it
local stream, group, consumer = KEYS[1], ARGV[1], ARGV[2]
if #redis.call('XPENDING', stream, group, '-', '+', 1, consumer) > 0 then
  return 0
end
redis.call('XGROUP', 'DELCONSUMER', stream, group, consumer)
return 1
