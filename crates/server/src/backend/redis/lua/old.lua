-- ARGV: slot to begin after, how many slots, how many records of each. What a retention must look at.
local out = {}
for at, t in ipairs(redis.call('ZRANGEBYSCORE', p .. 'spilled', '(' .. ARGV[1], '+inf', 'LIMIT', 0, ARGV[2])) do
  local slot = tonumber(t)
  local acked = record(slot)
  local first = redis.call('XRANGE', p .. 'q:' .. t, '-', '+', 'COUNT', ARGV[3])
  local newest = redis.call('XREVRANGE', p .. 'q:' .. t, '+', '-', 'COUNT', 1)
  out[at] = { t, acked, lost(t), base(slot), first, newest[1] and newest[1][2][2] or '0' }
end
return out
