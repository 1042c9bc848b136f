-- ARGV: slot.
local t = ARGV[1]
local acked, ord, last, _, flags = record(tonumber(t))
local out = {}
local function add(name, a, o, l)
  local epoch = redis.call('HGET', p .. 'epochs', string.format('%.0f', o)) or s[1]
  out[#out + 1] = { name, a, epoch, l }
end
if bit.band(flags, 1) ~= 0 then add('default', acked, ord, last) end
if bit.band(flags, 2) ~= 0 then
  local rows = redis.call('HGETALL', p .. 'c:' .. t)
  for at = 1, #rows, 2 do
    local a, o, l = struct.unpack(ROW, rows[at + 1])
    add(rows[at], a, o, l)
  end
end
return out
