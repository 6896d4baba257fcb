-- after(epoch, position) answers {the head, the blocks with the entries that are newer}:
-- all blocks if the position is not of the epoch, or is ahead.
local raw = redis.pcall('HGET', KEYS[1], 'h')
local h = parse(raw)
if not h then
  return false
end
local n = h.held
if ARGV[1] == h.epoch and tonumber(ARGV[2]) <= h.seq then
  n = math.min(n, h.seq - ARGV[2])
end
return {raw, newest(h, n)}
