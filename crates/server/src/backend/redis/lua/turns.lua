-- ARGV: the turn to begin after, how many.
local first = redis.call('XRANGE', p .. 'turns', '-', '+', 'COUNT', 1)[1]
local forgotten = tonumber(redis.call('HGET', meta, 'turns') or '0')
if first then forgotten = tonumber(string.sub(first[1], 3)) - 1 end
return { s, forgotten, redis.call('XRANGE', p .. 'turns', id(tonumber(ARGV[1]) + 1), '+', 'COUNT', ARGV[2]) }
