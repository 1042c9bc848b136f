-- ARGV: epoch or nothing, whether it may go back, now; then the acks, each its slot, consumer and seq.
if ARGV[1] ~= '' and s[1] ~= ARGV[1] then return 0 end
local back, now, epoch = ARGV[2] == '1', tonumber(ARGV[3]), tonumber(s[10])
local moved, seen_slots = {}, {}
for at = 4, #ARGV, 3 do
  local t, name, slot = ARGV[at], ARGV[at + 1], tonumber(ARGV[at])
  local acked, ord, last, seen, flags = record(slot)
  if acked ~= TOMBSTONE then
    local to = math.max(acked, tonumber(ARGV[at + 2]))
    if bit.band(flags, 2) == 0 and name == 'default' then
      if to > acked then
        put(slot, to, epoch, now, now, bit.bor(flags, 5))
        trim(slot, t, acked, to)
      elseif bit.band(flags, 1) == 0 then
        put(slot, acked, epoch, 0, now, bit.bor(flags, 5))
      end
    else
      if bit.band(flags, 2) == 0 then
        put(slot, acked, ord, last, 0, bit.bor(spread(t, acked, ord, last, seen, flags), 6))
      end
      local bytes = redis.call('HGET', p .. 'c:' .. t, name)
      local row, row_ord, row_last, row_seen = acked, epoch, 0, now
      if bytes then row, row_ord, row_last, row_seen = struct.unpack(ROW, bytes) end
      if to > row or (back and to < row) then row, row_ord, row_last, row_seen = to, epoch, now, now end
      redis.call('HSET', p .. 'c:' .. t, name, struct.pack(ROW, row, row_ord, row_last, row_seen))
      if not seen_slots[t] then
        seen_slots[t] = true
        moved[#moved + 1] = t
      end
    end
  end
end
-- Once for each slot: the minimum looks at all of its rows.
for _, t in ipairs(moved) do
  local slot = tonumber(t)
  local acked, ord, _, _, flags = record(slot)
  local settled, newest = minimum(t, acked)
  put(slot, settled, ord, newest, 0, bit.bor(flags, 6))
  trim(slot, t, acked, settled)
end
return 1
