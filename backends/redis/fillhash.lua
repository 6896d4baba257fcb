-- fill(version, field, ttl, limit, value) stores the value, unless there are that many
-- already, and answers whether it did. Values of another version go. All live as long
-- as the first of them.
local mine, count = head()
if mine ~= ARGV[1] then
  redis.call('UNLINK', KEYS[1])
  count = 0
end
local there = kind(redis.call('HGET', KEYS[1], ARGV[2]), ARGV[1]) == 'V'
if not there and count >= tonumber(ARGV[4]) then
  redis.call('HDEL', KEYS[1], ARGV[2])
  return 0
end
redis.call('HSET', KEYS[1], ARGV[2], 'V' .. ARGV[1] .. ARGV[5])
if not there then
  setHead(ARGV[1], count + 1)
  if count == 0 then
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
  end
end
return 1
