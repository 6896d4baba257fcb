-- A key's log is the hash in KEYS[1]. log.go says how it is laid out, and sets the
-- limits CAP, PRODUCERS, TYPES and BUCKETS.
local EXACT = 2 ^ 53 - 1 -- up to here numbers are whole
local LATEST = 1e15 -- milliseconds since 1970

local function now()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- parse reads a head; nothing if it is none that we wrote.
local function parse(raw)
  if type(raw) ~= 'string' or #raw ~= 48 or string.sub(raw, 1, 1) ~= 'L' then
    return nil
  end
  local h = {}
  h.epoch, h.seq, h.total, h.created, h.turn, h.ring, h.held, h.producers, h.members =
    struct.unpack('>c8I8I8I8I8I2I2I2I1', raw, 2)
  if h.epoch == '\0\0\0\0\0\0\0\0' or h.seq > EXACT or h.total > EXACT or h.created > LATEST or h.turn > EXACT
    or h.ring < 1 or h.ring > CAP or h.held > h.ring or h.held > h.seq or h.producers > 2 * PRODUCERS or h.members > 1 then
    return nil
  end
  return h
end

-- slot names the field of a position. fmod is exact, which the operator is not.
local function slot(position, ring)
  return 'e' .. math.fmod(position, ring)
end

-- newest returns the n newest entries, newest first.
local function newest(h, n)
  if n == 0 then
    return {}
  end
  local names = {}
  for i = 0, n - 1 do
    names[i + 1] = slot(h.seq - i, h.ring)
  end
  return redis.call('HMGET', KEYS[1], unpack(names))
end
