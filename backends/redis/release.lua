-- release(token, stamp, keep, channel) removes the token, keeps the later stamp, and
-- answers whether the token was there. Unless others stand the entry is empty afterwards,
-- whatever it was; if the token was not there, the key is then published on the channel,
-- even if nothing was there any more: it may have been, and have been copied.
local at = now()
local e = read(at) or {stamp = '', keep = 0}
local there, tokens, latest = 0, {}, 0
for _, t in ipairs(e.tokens or {}) do
  if t[1] == ARGV[1] then
    there = 1
  else
    table.insert(tokens, t)
    latest = math.max(latest, t[2])
  end
end

-- before compares byte by byte, where the operator of Lua would ask the locale.
local function before(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then
      return x < y
    end
  end
  return #a < #b
end

local stamp, keep = e.stamp, e.keep
if ARGV[2] ~= '' then
  if before(stamp, ARGV[2]) then
    stamp = ARGV[2]
  end
  keep = math.max(keep, at + ARGV[3])
end
write({state = #tokens > 0 and 'H' or 'E', stamp = stamp, keep = keep, tokens = tokens}, latest)
if there == 0 and #tokens == 0 then
  redis.call('PUBLISH', ARGV[4], 'h' .. KEYS[1])
end
return there
