-- ARGV: slots. Of each its record, base, lost, and the first spilled record that is not acked.
local out = {}
for at, t in ipairs(ARGV) do
  local slot = tonumber(t)
  local acked, _, last, _, flags = record(slot)
  local gone, top, first = lost(t), base(slot), {}
  local floor = math.max(acked, gone)
  if top > floor then first = redis.call('XRANGE', p .. 'q:' .. t, id(floor + 1), '+', 'COUNT', 1) end
  out[at] = { acked, last, flags, gone, top, first }
end
return out
