-- ARGV: slots, each with the last seq that is dropped. `lost` moves in the same step as the trim.
local out = {}
for at = 1, #ARGV, 2 do
  local t, to = ARGV[at], tonumber(ARGV[at + 1])
  local slot = tonumber(t)
  local acked, ord, last, seen, flags = record(slot)
  local floor = math.max(acked, lost(t))
  if acked ~= TOMBSTONE and to > floor then
    redis.call('HSET', p .. 'lost', t, ARGV[at + 1])
    put(slot, acked, ord, last, seen, bit.bor(flags, 8))
    trim(slot, t, floor, to)
    out[#out + 1] = { t, floor + 1, to }
  end
end
return out
