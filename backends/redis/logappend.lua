-- append(epoch, producer, number, cap, ttl, added, counted, members, width, entries,
-- types, block, type, count..., bucket, count...) applies a batch unless it is a
-- repetition, and answers the head. The epoch is for a new key; members is 1 if the
-- batch has some; entries and types say how many there are; the block has the entries.
local FIRST = 13 -- the first type's place in ARGV
local cap, added, n, types = tonumber(ARGV[4]), tonumber(ARGV[6]), tonumber(ARGV[10]), tonumber(ARGV[11])
local producer = 'p' .. ARGV[2]
local writes = {} -- of one HSET

local function put(name, value)
  writes[#writes + 1] = name
  writes[#writes + 1] = value
end

-- above compares two numbers of 8 bytes, which are too large for those of Lua.
local function above(a, b)
  local ah, al = struct.unpack('>I4I4', a)
  local bh, bl = struct.unpack('>I4I4', b)
  return ah > bh or (ah == bh and al > bl)
end

-- addEntries drops the blocks without which there are still enough of the older entries,
-- and adds a block, or to the newest one if both are small.
local function addEntries(h, entries)
  local counts, keep, sum = h.counts, math.min(h.held, cap - n), 0
  for _, c in ipairs(counts) do
    sum = sum + c
  end
  local gone = {}
  while #counts > 0 and sum - counts[#counts] >= keep do
    gone[#gone + 1] = block(h, #counts)
    sum = sum - counts[#counts]
    counts[#counts] = nil
  end
  if #gone > 0 then
    redis.call('HDEL', KEYS[1], unpack(gone))
  end
  h.seq = h.seq + added
  h.held = keep + n
  if n == 0 then
    return
  end
  if #counts > 0 and h.tip + #entries <= BLOCK and counts[1] + n <= cap / 2 then
    local old = redis.call('HGET', KEYS[1], block(h, 1))
    if old and #old == h.tip then
      counts[1] = counts[1] + n
      h.tip = h.tip + #entries
      put(block(h, 1), entries .. old)
      return
    end
  end
  h.top = (h.top + 1) % 65536
  h.tip = #entries
  table.insert(counts, 1, n)
  put(block(h, 1), entries)
end

-- forget leaves the producers that appended last, one less than are to be remembered.
local function forget(h)
  local names = {}
  for _, name in ipairs(redis.call('HKEYS', KEYS[1])) do
    if string.sub(name, 1, 1) == 'p' then
      names[#names + 1] = name
    end
  end
  if #names == 0 then
    h.producers = 0
    return
  end
  local all = {}
  for i, v in ipairs(redis.call('HMGET', KEYS[1], unpack(names))) do
    all[i] = {names[i], #v == 16 and struct.unpack('>I8', v, 9) or -1}
  end
  table.sort(all, function(a, b) return a[2] > b[2] end)
  local old = {}
  for i = PRODUCERS, #all do
    old[#old + 1] = all[i][1]
  end
  if #old > 0 then
    redis.call('HDEL', KEYS[1], unpack(old))
  end
  h.producers = #all - #old
end

-- readTypes returns names and counts in the order of their coming, and where each is;
-- nothing if they cannot be read.
local function readTypes()
  local raw = redis.call('HGET', KEYS[1], 't') or ''
  local names, counts, places = {}, {}, {}
  local pos = 1
  while pos <= #raw do
    if pos + 1 > #raw or #names > TYPES then
      return {}, {}, {}
    end
    local size = struct.unpack('>I2', raw, pos)
    if pos + size + 9 > #raw then
      return {}, {}, {}
    end
    local name = string.sub(raw, pos + 2, pos + 1 + size)
    local i = #names + 1
    names[i], counts[i], places[name] = name, struct.unpack('>I8', raw, pos + 2 + size), i
    pos = pos + size + 10
  end
  return names, counts, places
end

local function addTypes(first, last)
  local names, counts, places = readTypes()
  local named = #names - (places[''] and 1 or 0)
  for i = first, last, 2 do
    local name = ARGV[i]
    if not places[name] and name ~= '' then
      if named >= TYPES then
        name = ''
      else
        named = named + 1
      end
    end
    local place = places[name]
    if not place then
      place = #names + 1
      names[place], counts[place], places[name] = name, 0, place
    end
    counts[place] = math.min(counts[place] + ARGV[i + 1], EXACT)
  end
  local parts = {}
  for i, name in ipairs(names) do
    parts[i] = struct.pack('>I2', #name) .. name .. struct.pack('>I8', counts[i])
  end
  put('t', table.concat(parts))
end

local function addTimes(first, last, width)
  local raw = redis.call('HGET', KEYS[1], 's')
  local present = math.floor(now() / width)
  local old, was = 0, 0
  if raw and #raw == 16 + 8 * BUCKETS then
    old, was = struct.unpack('>I8I8', raw)
  end
  local counts
  if old ~= width or was > present + BUCKETS then -- so far ahead no clock goes back
    counts, was = string.rep('\0', 8 * BUCKETS), present
  else
    local gone = math.max(math.min(present - was, BUCKETS), 0)
    counts = string.sub(raw, 17 + 8 * gone) .. string.rep('\0', 8 * gone)
    was = math.max(was, present)
  end
  local more = {} -- by age
  for i = first, last, 2 do
    local age = math.max(was - ARGV[i], 0)
    if age < BUCKETS then
      more[age] = (more[age] or 0) + ARGV[i + 1]
    end
  end
  for age, count in pairs(more) do
    local at = 8 * (BUCKETS - 1 - age)
    count = math.min(struct.unpack('>I8', counts, at + 1) + count, EXACT)
    counts = string.sub(counts, 1, at) .. struct.pack('>I8', count) .. string.sub(counts, at + 9)
  end
  put('s', struct.pack('>I8I8', width, was) .. counts)
end

local read = redis.pcall('HMGET', KEYS[1], 'h', producer)
local h, last = parse(read[1]), read[2]
if last and #last ~= 16 then
  last = false
end
if h and last and not above(ARGV[3], last) then
  return read[1]
end
if h and not last and h.producers == 2 * PRODUCERS then
  if redis.call('HLEN', KEYS[1]) > CAP + 2 * PRODUCERS + 4 then -- more than we wrote
    h = nil
  else
    forget(h)
  end
end
if not h or h.seq + added > EXACT then
  redis.call('UNLINK', KEYS[1])
  last = false
  h = {epoch = ARGV[1], seq = 0, total = 0, created = now(), turn = 0, held = 0, producers = 0, members = 0,
    top = 0, tip = 0, counts = {}}
end
if not last then
  h.producers = h.producers + 1
end
h.turn = math.min(h.turn + 1, EXACT)
h.total = math.min(h.total + added + ARGV[7], EXACT)
h.members = math.max(h.members, tonumber(ARGV[8]))
addEntries(h, ARGV[12])
local times = FIRST + 2 * types
if types > 0 then
  addTypes(FIRST, times - 1)
end
if times <= #ARGV then
  addTimes(times, #ARGV, tonumber(ARGV[9]))
end
local counts = {}
for i, c in ipairs(h.counts) do
  counts[i] = struct.pack('>I2', c)
end
local head = 'L' .. struct.pack('>c8I8I8I8I8I2I2I1I2I4', h.epoch, h.seq, h.total, h.created, h.turn,
  h.held, h.producers, h.members, h.top, h.tip) .. table.concat(counts)
put('h', head)
put(producer, ARGV[3] .. struct.pack('>I8', h.turn))
redis.call('HSET', KEYS[1], unpack(writes))
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return head
