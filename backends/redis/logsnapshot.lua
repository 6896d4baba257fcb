-- snapshot() answers {the head, the time, the types, the sparkline, the blocks}.
local f = redis.pcall('HMGET', KEYS[1], 'h', 't', 's')
local h = parse(f[1])
if not h then
  return false
end
return {f[1], now(), f[2], f[3], newest(h, h.held)}
