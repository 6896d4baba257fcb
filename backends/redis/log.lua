-- A key's log is the hash in KEYS[1]. log.go says how it is laid out, and sets the
-- limits CAP, PRODUCERS, TYPES, BUCKETS and BLOCK.
local EXACT = 2 ^ 53 - 1 -- up to here numbers are whole
local LATEST = 1e15 -- milliseconds since 1970

local function now()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- parse reads a head; nothing if it is none that we wrote.
local function parse(raw)
  if type(raw) ~= 'string' or #raw < 52 or string.sub(raw, 1, 1) ~= 'L' then
    return nil
  end
  local h = {counts = {}}
  h.epoch, h.seq, h.total, h.created, h.turn, h.held, h.producers, h.members, h.top, h.tip =
    struct.unpack('>c8I8I8I8I8I2I2I1I2I4', raw, 2)
  local blocks = (#raw - 52) / 2
  if h.epoch == '\0\0\0\0\0\0\0\0' or h.seq > EXACT or h.total > EXACT or h.created > LATEST or h.turn > EXACT
    or h.held > CAP or h.held > h.seq or h.producers > 2 * PRODUCERS or h.members > 1
    or blocks > CAP + 1 or blocks % 1 ~= 0 then
    return nil
  end
  local sum = 0
  for i = 1, blocks do
    local c = struct.unpack('>I2', raw, 51 + 2 * i)
    if c == 0 then
      return nil
    end
    h.counts[i], sum = c, sum + c
  end
  if sum < h.held then
    return nil
  end
  return h
end

-- block names the field of a block. The newest is the first.
local function block(h, i)
  return 'e' .. (h.top - i + 1) % 65536
end

-- newest returns the blocks that have the n newest entries.
local function newest(h, n)
  local names, sum = {}, 0
  for i, c in ipairs(h.counts) do
    if sum >= n then
      break
    end
    names[i], sum = block(h, i), sum + c
  end
  if #names == 0 then
    return {}
  end
  return redis.call('HMGET', KEYS[1], unpack(names))
end
