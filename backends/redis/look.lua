-- look() tells what the entry is after what has reached its deadline is gone.
local e, raw = read(now())
if e then
  return bytes(e)
end
return raw
