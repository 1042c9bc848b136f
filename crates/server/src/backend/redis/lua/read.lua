-- ARGV: slot, from, how many records.
local slot = tonumber(ARGV[1])
local acked = record(slot)
local records = {}
if acked ~= TOMBSTONE then
  records = redis.call('XRANGE', p .. 'q:' .. ARGV[1], '0-' .. ARGV[2], '+', 'COUNT', ARGV[3])
end
return { s, acked, lost(ARGV[1]), base(slot), records }
