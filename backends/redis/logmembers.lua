-- members(ttl, member...) adds to the HyperLogLog in KEYS[1], and lets it live that long
-- at least. What is none is replaced.
for i = 2, #ARGV, 1000 do
  local last = math.min(i + 999, #ARGV)
  local r = redis.pcall('PFADD', KEYS[1], unpack(ARGV, i, last))
  if type(r) == 'table' then
    if not string.find(r.err, 'WRONGTYPE', 1, true) and not string.find(r.err, 'INVALIDOBJ', 1, true) then
      return r
    end
    redis.call('UNLINK', KEYS[1])
    redis.call('PFADD', KEYS[1], unpack(ARGV, i, last))
  end
end
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
return 1
