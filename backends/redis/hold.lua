-- hold(token, ttl, channel) adds the token, or gives it a new deadline. It publishes the
-- key on the channel if the token was not there.
local at = now()
local e = read(at) or {stamp = '', keep = 0}
local deadline = at + ARGV[2]
local tokens, latest, added = {{ARGV[1], deadline}}, deadline, true
for _, t in ipairs(e.tokens or {}) do
  if t[1] == ARGV[1] then
    added = false
  else
    table.insert(tokens, t)
    latest = math.max(latest, t[2])
  end
end
if added then -- before the entry is written: a server that does not let it takes no hold
  redis.call('PUBLISH', ARGV[3], 'h' .. KEYS[1])
end
write({state = 'H', stamp = e.stamp, keep = e.keep, tokens = tokens}, latest)
return 1
