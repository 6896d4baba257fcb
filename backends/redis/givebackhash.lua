-- giveback(version, field) takes the fragment's loading deadline away.
local mine = head()
if mine == ARGV[1] and kind(redis.call('HGET', KEYS[1], ARGV[2]), mine) == 'L' then
  redis.call('HDEL', KEYS[1], ARGV[2])
end
return 1
