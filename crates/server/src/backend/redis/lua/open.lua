-- ARGV: filter version. A new epoch starts with the newest version (rule 23).
if s[8] == '1' then
  if tonumber(ARGV[1]) > tonumber(s[7]) then
    redis.call('HSET', meta, 'version', ARGV[1])
    s[7] = ARGV[1]
  end
  redis.call('HSET', meta, 'sealed', '0')
end
return s
