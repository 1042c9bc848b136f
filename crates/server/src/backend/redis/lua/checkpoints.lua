-- No ARGV. Answers pairs of partition and offset.
local all = redis.call('HGETALL', p .. 'checkpoints')
local out = {}
for at = 1, #all, 2 do
  if string.sub(all[at], 1, 1) == 'n' then out[#out + 1] = { string.sub(all[at], 2), all[at + 1] } end
end
return out
