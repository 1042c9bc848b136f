-- ARGV: epoch, n, m, a; the new n, m, a; how many pieces of base, each its byte offset and bytes; then the spills,
-- each its slot, last seq, body bytes and record. The pieces were computed at just this position, which no other
-- step moves, so they are only copied.
if s[1] ~= ARGV[1] or s[2] ~= ARGV[2] or s[3] ~= ARGV[3] or s[4] ~= ARGV[4] then return 0 end
local at = 9
for _ = 1, tonumber(ARGV[8]) do
  redis.call('SETRANGE', p .. 'base', ARGV[at], ARGV[at + 1])
  at = at + 2
end
local of, acked, listed
while at < #ARGV do
  local t = ARGV[at]
  if t ~= of then
    of, acked, listed = t, (record(tonumber(t))), false
  end
  if tonumber(ARGV[at + 1]) > acked then
    if not listed then
      redis.call('ZADD', p .. 'spilled', t, t)
      listed = true
    end
    local total = redis.call('HINCRBY', p .. 'total', t, ARGV[at + 2])
    redis.call('XADD', p .. 'q:' .. t, '0-' .. ARGV[at + 1], 'c', total, 'd', ARGV[at + 3])
  end
  at = at + 4
end
local folded = tonumber(ARGV[5]) - tonumber(s[2])
if folded > 0 then
  local freed = 0
  for _, size in ipairs(redis.call('LPOP', p .. 'sizes', folded) or {}) do freed = freed + tonumber(size) end
  redis.call('XTRIM', p .. 'log', 'MINID', id(tonumber(ARGV[5]) + 1))
  redis.call('HSET', meta, 'bytes', tonumber(s[6]) - freed)
end
redis.call('HSET', meta, 'n', ARGV[5], 'm', ARGV[6], 'a', ARGV[7])
return 1
