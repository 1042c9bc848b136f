-- ARGV: epoch, owner, partition, from, to, filter version, byte limit of the log, the entry or nothing, one past its
-- highest slot.
-- Every check comes before the first write: Lua does not roll back (rule 20 has their order).
if s[1] ~= ARGV[1] then return { 'epoch', s[1] } end
local checkpoint = redis.call('HMGET', p .. 'checkpoints', 'o' .. ARGV[3], 'n' .. ARGV[3])
if checkpoint[1] ~= ARGV[2] then return { 'fenced' } end
local to, next = tonumber(ARGV[5]), checkpoint[2]
if next then
  if tonumber(next) >= to then return { 'already' } end
  if next ~= ARGV[4] then return { 'conflict', next } end
end
if tonumber(ARGV[6]) < tonumber(s[7]) then return { 'stale', s[7] } end
local entry = ARGV[8]
if #entry > 0 and tonumber(s[6]) >= tonumber(ARGV[7]) then return { 'full' } end

local top = '0'
if #entry > 0 then
  top = string.format('%.0f', tonumber(s[5]) + 1)
  redis.call('XADD', p .. 'log', '0-' .. top, 'e', entry)
  redis.call('RPUSH', p .. 'sizes', #entry)
  redis.call('HSET', meta, 'top', top, 'bytes', tonumber(s[6]) + #entry)
  if tonumber(ARGV[9]) > tonumber(redis.call('HGET', meta, 'slots') or '0') then
    redis.call('HSET', meta, 'slots', ARGV[9])
  end
end
if not next then redis.call('HSET', p .. 'checkpoints', 'f' .. ARGV[3], ARGV[4]) end
redis.call('HSET', p .. 'checkpoints', 'n' .. ARGV[3], ARGV[5])
return { 'applied', top }
