-- ARGV: epoch, partition.
if s[1] ~= ARGV[1] or s[8] == '1' then return { 0 } end
local owner = redis.call('HINCRBY', p .. 'checkpoints', 'o' .. ARGV[2], 1)
return { 1, owner, redis.call('HGET', p .. 'checkpoints', 'n' .. ARGV[2]) }
