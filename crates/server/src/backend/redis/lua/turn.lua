-- ARGV: slot, consumer, how many turns to keep.
local turn = redis.call('HINCRBY', meta, 'turns', 1)
redis.call('XADD', p .. 'turns', 'MAXLEN', '~', ARGV[3], id(turn), 's', ARGV[1], 'c', ARGV[2])
return turn
