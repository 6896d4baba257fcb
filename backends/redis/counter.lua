-- A counter is a hash, of which counters.go says how it is laid out.
local MOST = 2 ^ 53
local LONGEST = 31622400000 -- milliseconds: a later end is none that we set

local function whole(s)
  local n = tonumber(s)
  return n and n >= 1 and n <= MOST and n % 1 == 0 and n
end

-- endless tells whether what remains of a key is nothing that we set.
local function endless(left)
  return left < 0 or left > LONGEST
end

-- look returns the counter in a key, with what was answered to the token in a field, and
-- whether there is something that is none.
local function look(key, field)
  local left = redis.call('PTTL', key)
  if left == -2 then
    return nil, false
  end
  local h = redis.pcall('HMGET', key, 'n', 'e', field)
  local c = {count = whole(h[1]), epoch = whole(h[2]), answered = h[3] and whole(h[3]), left = left}
  if not c.count or not c.epoch or (h[3] and not c.answered) then
    return nil, true
  end
  return c, false
end
