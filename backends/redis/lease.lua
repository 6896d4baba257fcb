-- lease(version, field, lease, ttl, exact) claims the fragment under the version of the
-- hash, or under the one given if there is no hash or if exact is 1. It answers
-- {whether it did, the version, the field}.
local at = now()
local mine, count = head()
if not mine or (ARGV[5] == '1' and mine ~= ARGV[1]) then
  redis.call('UNLINK', KEYS[1])
  mine = ARGV[1]
  setHead(mine, 0)
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
local f = redis.call('HGET', KEYS[1], ARGV[2])
local k = kind(f, mine)
if k == 'V' or (k == 'L' and struct.unpack('>I8', f, 10) > at) then
  return {0, mine, f}
end
f = 'L' .. mine .. struct.pack('>I8', at + ARGV[3])
redis.call('HSET', KEYS[1], ARGV[2], f)
return {1, mine, f}
