-- ARGV: gateway, who is there, for how long.
local now, ttl = tonumber(redis.call('TIME')[1]), tonumber(ARGV[3])
redis.call('SET', p .. 'here:' .. ARGV[1], ARGV[2], 'EX', ttl)
redis.call('ZADD', p .. 'heres', now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', p .. 'heres', '-inf', now - 2 * ttl)
return 1
