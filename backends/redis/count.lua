-- count(window, epoch) answers with the counter in KEYS[1] as increment does, or with
-- nothing if its window is not that of the epoch. It changes nothing.
local c = look(KEYS[1], 'n')
if not c or (ARGV[2] ~= '0' and c.epoch ~= tonumber(ARGV[2])) then
  return {}
end
if endless(c.left) then
  c.left = tonumber(ARGV[1]) -- the next increment sets such an end
end
return {c.count, c.left, c.epoch, 0}
