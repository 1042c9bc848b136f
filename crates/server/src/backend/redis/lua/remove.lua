-- ARGV: slot. The tombstone first, then what was held (rule 16).
local t = ARGV[1]
put(tonumber(t), TOMBSTONE, 0, 0, 0, 0)
redis.call('UNLINK', p .. 'q:' .. t, p .. 'c:' .. t)
redis.call('ZREM', p .. 'spilled', t)
redis.call('HDEL', p .. 'lost', t)
redis.call('HDEL', p .. 'total', t)
return 1
