-- admit(member, max, window) takes the member into the group in KEYS[1] if it has fewer
-- than max, and answers {whether it is a member, members, what remains of the window}.
-- What is not a set is removed.
local LONGEST = 31622400000 -- milliseconds: a later end is none that we set

local key = KEYS[1]
local left = redis.call('PTTL', key)
local is, members = 0, 0
if left ~= -2 then
  is = redis.pcall('SISMEMBER', key, ARGV[1])
  if type(is) == 'table' then
    redis.call('UNLINK', key)
    is = 0
  else
    members = redis.call('SCARD', key)
    if left < 0 or left > LONGEST then
      left = tonumber(ARGV[3])
      redis.call('PEXPIRE', key, ARGV[3])
    end
  end
end
if is == 0 and members < tonumber(ARGV[2]) then
  redis.call('SADD', key, ARGV[1])
  if members == 0 then
    left = tonumber(ARGV[3])
    redis.call('PEXPIRE', key, ARGV[3])
  end
  is, members = 1, members + 1
end
return {is, members, left}
