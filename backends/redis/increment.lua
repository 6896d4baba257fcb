-- increment(n, window, token, exact, epoch) adds n to the counter in KEYS[1], and answers
-- {count, what remains of the window, epoch}, or nothing if the window is not that of
-- the epoch. counters.go says how a counter is laid out. What is none is removed.
local MOST = 2 ^ 53
local LONGEST = 31622400000 -- milliseconds: a later end is none that we set

local function whole(s)
  local n = tonumber(s)
  return n and n >= 1 and n <= MOST and n % 1 == 0 and n
end

local key, field = KEYS[1], 't' .. ARGV[3]
local left = redis.call('PTTL', key)
local count, epoch, answered
if left ~= -2 then
  local h = redis.pcall('HMGET', key, 'n', 'e', field)
  count, epoch, answered = whole(h[1]), whole(h[2]), h[3] and whole(h[3])
  if not count or not epoch or (h[3] and not answered) then
    redis.call('UNLINK', key)
    count = nil
  elseif left < 0 or left > LONGEST then
    left = tonumber(ARGV[2])
    redis.call('PEXPIRE', key, ARGV[2])
  end
end
if ARGV[5] ~= '0' and (not count or epoch ~= tonumber(ARGV[5])) then
  return {}
end
if answered and count then
  return {answered, left, epoch}
end
local before = count or 0
count = math.min(before + ARGV[1], MOST)
local text = string.format('%.0f', count)
if before == 0 then
  local t = redis.call('TIME')
  epoch, left = t[1] * 1000000 + t[2], tonumber(ARGV[2])
  redis.call('HSET', key, 'n', text, 'e', string.format('%.0f', epoch))
  redis.call('PEXPIRE', key, ARGV[2])
end
if ARGV[3] ~= '' and before < tonumber(ARGV[4]) then
  redis.call('HSET', key, 'n', text, field, text)
elseif before > 0 then
  redis.call('HSET', key, 'n', text)
end
return {count, left, epoch}
