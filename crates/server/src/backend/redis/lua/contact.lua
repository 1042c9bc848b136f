-- The first contact with a server: a new epoch, unless nothing can have been lost since the last one.
-- ARGV: run id, whether the epoch may outlive a restart, the node, a random epoch, an epoch that is known to have lost
-- something, or nothing.
local meta = KEYS[1]
local p = string.sub(meta, 1, -5)
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') or ''
local old = redis.call('HMGET', meta, 'epoch', 'run', 'keep', 'node', 'ord', 'top')
-- What was found out of the configuration holds for the process that was asked, and for no other.
local keep = (ARGV[2] == '1' and run == ARGV[1] and run ~= '') and '1' or '0'
local same = run ~= '' and old[2] == run
local kept = keep == '1' and old[3] == '1' and old[4] == ARGV[3]
if not old[1] or ARGV[5] == old[1] or not (same or kept) then
  local ord = (tonumber(old[5] or '0') + 1) % 65536
  redis.call('HSET', p .. 'epochs', ord, ARGV[4])
  redis.call('HSET', meta, 'epoch', ARGV[4], 'ord', ord, 'sealed', '1', 'et', old[6] or '0')
  for _, field in ipairs({ 'n', 'm', 'a', 'top', 'bytes', 'version' }) do redis.call('HSETNX', meta, field, '0') end
end
redis.call('HSET', meta, 'run', run, 'keep', keep, 'node', ARGV[3])
return redis.call('HGET', meta, 'epoch')
