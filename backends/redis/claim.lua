-- claim(version, lease, ttl, corrupt, own) makes an empty entry versioned, or one with
-- exactly those corrupt bytes. If own is 1 it claims the primary fragment too. It
-- answers {whether it did, the entry}.
local at = now()
local e, raw = read(at)
local replaced = false
if not e then
  if ARGV[4] == '' or ARGV[4] ~= raw then
    return {0, raw}
  end
  e, replaced = {state = 'E', stamp = '', keep = 0}, true
end
if e.state == 'H' then
  return {0, bytes(e)}
end
local own = ARGV[5] == '1'
if e.state == 'E' then
  e.state, e.version, e.loading = 'V', ARGV[1], 0
  if own then
    e.loading = at + ARGV[2]
  end
  return {own and 1 or 0, write(e, at + ARGV[3])}
end
if own and not e.value and e.loading <= at then
  e.loading = at + ARGV[2]
  local b = bytes(e)
  redis.call('SET', KEYS[1], b, 'KEEPTTL')
  return {1, b}
end
return {0, bytes(e)}
