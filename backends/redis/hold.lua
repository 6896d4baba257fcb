-- hold(token, ttl) adds the token, or gives it a new deadline.
local at = now()
local e = read(at) or {stamp = '', keep = 0}
local deadline = at + ARGV[2]
local tokens, latest = {{ARGV[1], deadline}}, deadline
for _, t in ipairs(e.tokens or {}) do
  if t[1] ~= ARGV[1] then
    table.insert(tokens, t)
    latest = math.max(latest, t[2])
  end
end
write({state = 'H', stamp = e.stamp, keep = e.keep, tokens = tokens}, latest)
return 1
