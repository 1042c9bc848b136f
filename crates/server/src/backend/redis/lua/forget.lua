-- ARGV: a time, then slots: removes their consumers that were not seen since then.
local before = tonumber(ARGV[1])
for at = 2, #ARGV do
  local t, slot = ARGV[at], tonumber(ARGV[at])
  local acked, ord, last, seen, flags = record(slot)
  if bit.band(flags, 1) ~= 0 and seen < before then
    put(slot, acked, 0, 0, 0, bit.band(flags, 65534))
  elseif bit.band(flags, 2) ~= 0 then
    local rows = redis.call('HGETALL', p .. 'c:' .. t)
    for row = 1, #rows, 2 do
      local _, _, _, row_seen = struct.unpack(ROW, rows[row + 1])
      if row_seen < before then redis.call('HDEL', p .. 'c:' .. t, rows[row]) end
    end
    local settled, newest = minimum(t, acked)
    put(slot, settled, ord, newest, 0, flags)
    trim(slot, t, acked, settled)
  end
end
return 1
