-- rebuild_fold: no verb of its own; stands in front of rebuild_add and rebuild_swap.
-- fold(first, at) adds sums to the counters KEYS[first..]. From ARGV[at] on there is per key: seconds that it is kept (0: for
-- ever), number of sums, number of greatest values, then all their fields, then all their values.
local function fold(first, at)
  for n = first, #KEYS do
    local key, seconds, sums, total = KEYS[n], tonumber(ARGV[at]), tonumber(ARGV[at + 1]), 0
    total = sums + tonumber(ARGV[at + 2])
    local from = at + 3
    local had, set = redis.call('HMGET', key, unpack(ARGV, from, from + total - 1)), {}
    for m = 1, total do
      local old, value = had[m], ARGV[from + total + m - 1]
      if m <= sums then value = string.format('%.0f', tonumber(old or 0) + tonumber(value)) end
      if m <= sums or not old or old < value then
        set[#set + 1] = ARGV[from + m - 1]
        set[#set + 1] = value
      end
    end
    if #set > 0 then redis.call('HSET', key, unpack(set)) end
    if seconds > 0 then redis.call('EXPIRE', key, seconds) end
    at = from + 2 * total
  end
end

