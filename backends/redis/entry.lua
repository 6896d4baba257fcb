-- An anchor's entry is the string in KEYS[1]. entry.go says how it is laid out.
local WRONG_TYPE = 'graphcache: not a string'
local LATEST = 1e15 -- milliseconds since 1970; a later deadline is none that we wrote

local function unpack8(s, i)
  return (struct.unpack('>I8', s, i))
end

local function pack8(n)
  return struct.pack('>I8', n)
end

local function now()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- read returns the entry, and its bytes; no entry if they are not one.
local function read(at)
  local raw = redis.pcall('GET', KEYS[1])
  if not raw or raw == '' then
    return {state = 'E', stamp = '', keep = 0}, false
  end
  if type(raw) == 'table' then
    return nil, WRONG_TYPE
  end
  local size = #raw
  if size < 10 then
    return nil, raw
  end
  local e = {state = string.sub(raw, 1, 1), keep = unpack8(raw, 3)}
  local pos = 11 + string.byte(raw, 2)
  if pos > size + 1 or e.keep > LATEST then
    return nil, raw
  end
  e.stamp = string.sub(raw, 11, pos - 1)
  if e.stamp ~= '' and e.keep <= at then
    e.stamp, e.keep = '', 0
  end
  if e.state == 'V' then
    if pos + 17 > size + 1 then
      return nil, raw
    end
    e.version = string.sub(raw, pos, pos + 7)
    e.loading = unpack8(raw, pos + 8)
    local full = string.byte(raw, pos + 16)
    if e.loading > LATEST or e.version == '\0\0\0\0\0\0\0\0' or full == nil or full > 1 or (full == 0 and pos + 16 < size) then
      return nil, raw
    end
    if full == 1 then
      e.value = string.sub(raw, pos + 17)
    end
  elseif e.state == 'H' then
    e.tokens = {}
    while pos <= size do
      local n = string.byte(raw, pos)
      if pos + n + 8 > size then
        return nil, raw
      end
      local deadline = unpack8(raw, pos + n + 1)
      if deadline > LATEST then
        return nil, raw
      end
      if deadline > at then
        table.insert(e.tokens, {string.sub(raw, pos + 1, pos + n), deadline})
      end
      pos = pos + n + 9
    end
    if #e.tokens == 0 then
      e = {state = 'E', stamp = e.stamp, keep = e.keep}
    end
  elseif e.state == 'S' and pos == size + 1 then
    e.state = 'E'
  else
    return nil, raw
  end
  return e, raw
end

-- bytes lays the entry out; nothing for one that says nothing.
local function bytes(e)
  local state = e.state
  if state == 'E' then
    if e.stamp == '' then
      return false
    end
    state = 'S'
  end
  local parts = {state, string.char(#e.stamp), pack8(e.keep), e.stamp}
  if state == 'V' then
    table.insert(parts, e.version)
    table.insert(parts, pack8(e.loading))
    table.insert(parts, e.value and '\1' or '\0')
    table.insert(parts, e.value or '')
  elseif state == 'H' then
    for _, t in ipairs(e.tokens) do
      table.insert(parts, string.char(#t[1]))
      table.insert(parts, t[1])
      table.insert(parts, pack8(t[2]))
    end
  end
  return table.concat(parts)
end

-- write stores the entry until the given time, or as long as it has a stamp.
local function write(e, deadline)
  local b = bytes(e)
  if b then
    redis.call('SET', KEYS[1], b, 'PXAT', math.max(deadline, e.keep))
  else
    redis.call('DEL', KEYS[1])
  end
  return b
end
