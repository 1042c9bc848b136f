-- ARGV: the gateway to leave out.
local out = {}
for _, gateway in ipairs(redis.call('ZRANGE', p .. 'heres', 0, -1)) do
  local there = gateway ~= ARGV[1] and redis.call('GET', p .. 'here:' .. gateway)
  if there then out[#out + 1] = there end
end
return out
