-- increment(n, window, token, exact, epoch, members) adds n to the counter in KEYS[1], and
-- answers {count, what remains of the window, epoch, 0}, or nothing if the window is not
-- that of the epoch. What is no counter is removed.
--
-- If there are three keys, the counter is of the group in KEYS[3], which has room for so
-- many members. If there is none for this one, it is the counter in KEYS[2] that is
-- increased and answered with, and the last number is 1.
local n, window, token, exact, epoch, members = unpack(ARGV)

-- found returns the counter in a key. An end that was lost is set anew.
local function found(key, field)
  local c, garbage = look(key, field)
  if garbage then
    redis.call('UNLINK', key)
  elseif c and endless(c.left) then
    c.left = tonumber(window)
    redis.call('PEXPIRE', key, window)
  end
  return c
end

-- takeRoom counts an opening in the group, unless as many as it has room for were
-- counted in its window.
local function takeRoom()
  local key = KEYS[3]
  local raw = redis.pcall('GET', key)
  local opened = type(raw) == 'string' and whole(raw)
  if raw and not opened then
    redis.call('UNLINK', key)
  elseif opened and endless(redis.call('PTTL', key)) then
    redis.call('PEXPIRE', key, window)
  end
  if not opened then
    redis.call('SET', key, 1, 'PX', window)
  elseif opened < tonumber(members) then
    redis.call('SET', key, opened + 1, 'KEEPTTL')
  else
    return false
  end
  return true
end

local key, field, other = KEYS[1], 't' .. token, 0
local c = found(key, field)
if epoch ~= '0' and (not c or c.epoch ~= tonumber(epoch)) then
  return {}
end
if not c and KEYS[3] then
  -- The keys differ in what follows those of the group.
  local of = 'o' .. #token .. ':' .. token .. string.sub(key, #KEYS[3] + 1)
  local o = found(KEYS[2], of)
  if (o and o.answered) or not takeRoom() then
    key, field, other, c = KEYS[2], of, 1, o
  end
end
if c and c.answered then
  return {c.answered, c.left, c.epoch, other}
end
local before = c and c.count or 0
local count = math.min(before + n, MOST)
local text = string.format('%.0f', count)
if not c then
  local t = redis.call('TIME')
  c = {epoch = t[1] * 1000000 + t[2], left = tonumber(window)}
  redis.call('HSET', key, 'n', text, 'e', string.format('%.0f', c.epoch))
  redis.call('PEXPIRE', key, window)
end
if token ~= '' and before < tonumber(exact) then
  redis.call('HSET', key, 'n', text, field, text)
elseif before > 0 then
  redis.call('HSET', key, 'n', text)
end
return {count, c.left, c.epoch, other}
