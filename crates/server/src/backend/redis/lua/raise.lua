-- ARGV: epoch, filter version.
if s[1] ~= ARGV[1] or s[8] == '1' then return 0 end
if tonumber(ARGV[2]) > tonumber(s[7]) then redis.call('HSET', meta, 'version', ARGV[2]) end
return 1
