-- The secondary values of an anchor are the fields of the hash in KEYS[1]. entry.go
-- says how they are laid out.
local function now()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- head returns the version of the hash and how many values it has; nothing if there is
-- no hash. What is none, or has no proper head, is removed.
local function head()
  local h = redis.pcall('HGET', KEYS[1], '')
  if not h then
    return nil, 0
  end
  if type(h) == 'table' or #h ~= 12 then
    redis.call('UNLINK', KEYS[1])
    return nil, 0
  end
  return string.sub(h, 1, 8), (struct.unpack('>I4', h, 9))
end

local function setHead(version, count)
  redis.call('HSET', KEYS[1], '', version .. struct.pack('>I4', count))
end

-- kind tells what a field has under a version: 'V' a value, 'L' a loading deadline.
local function kind(f, version)
  if f and #f >= 9 and string.sub(f, 2, 9) == version then
    local k = string.sub(f, 1, 1)
    if k == 'V' or (k == 'L' and #f == 17) then
      return k
    end
  end
  return ''
end
