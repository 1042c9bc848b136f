-- ARGV: slot, consumer, start (e, a or o), seq of the start, now, how many consumers are enough.
local t, name, slot, now = ARGV[1], ARGV[2], tonumber(ARGV[1]), tonumber(ARGV[5])
local acked, ord, last, seen, flags = record(slot)
if acked == TOMBSTONE then return { s, 1, 0, 0, s[1], acked, 0, base(slot), 0 } end
local hashed, row, row_ord, new = bit.band(flags, 2) ~= 0, nil, nil, 0
if hashed then
  local bytes = redis.call('HGET', p .. 'c:' .. t, name)
  if bytes then
    local a, o, l = struct.unpack(ROW, bytes)
    row, row_ord = a, o
    if ARGV[3] ~= 'o' then redis.call('HSET', p .. 'c:' .. t, name, struct.pack(ROW, a, o, l, now)) end
  end
elseif name == 'default' and bit.band(flags, 1) ~= 0 then
  row, row_ord = acked, ord
  if ARGV[3] ~= 'o' then put(slot, acked, ord, last, now, flags) end
end
if not row and ARGV[3] ~= 'o' and hashed and redis.call('HLEN', p .. 'c:' .. t) >= tonumber(ARGV[6]) then
  return { s, 0, 0, acked, s[1], acked, lost(t), base(slot), 1 }
end
if not row then
  row, row_ord = acked, tonumber(s[10])
  if ARGV[3] ~= 'o' then
    new = 1
    if ARGV[3] == 'a' then row = math.max(acked, tonumber(ARGV[4])) end
    local settled = row
    if not hashed and name == 'default' then
      put(slot, row, row_ord, 0, now, bit.bor(flags, 5))
    else
      flags = spread(t, acked, ord, last, seen, flags)
      redis.call('HSET', p .. 'c:' .. t, name, struct.pack(ROW, row, row_ord, 0, now))
      local newest
      settled, newest = minimum(t, acked)
      put(slot, settled, ord, newest, 0, bit.bor(flags, 6))
    end
    trim(slot, t, acked, settled)
    acked = settled
  end
end
local epoch = redis.call('HGET', p .. 'epochs', string.format('%.0f', row_ord)) or s[1]
return { s, 0, new, row, epoch, acked, lost(t), base(slot), 0 }
