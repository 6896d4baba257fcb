-- giveback(version) takes the primary fragment's loading deadline away.
local e = read(now())
if not e or e.state ~= 'V' or e.version ~= ARGV[1] then
  return 0
end
if e.loading ~= 0 then
  e.loading = 0
  redis.call('SET', KEYS[1], bytes(e), 'KEEPTTL')
end
return 1
