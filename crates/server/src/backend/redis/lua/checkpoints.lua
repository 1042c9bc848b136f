-- No ARGV. Answers partition, first offset and next offset of each. A log of an earlier version has no first.
local all = redis.call('HGETALL', p .. 'checkpoints')
local first, out = {}, {}
for at = 1, #all, 2 do
  if string.sub(all[at], 1, 1) == 'f' then first[string.sub(all[at], 2)] = all[at + 1] end
end
for at = 1, #all, 2 do
  local partition = string.sub(all[at], 2)
  if string.sub(all[at], 1, 1) == 'n' then out[#out + 1] = { partition, first[partition] or '0', all[at + 1] } end
end
return out
