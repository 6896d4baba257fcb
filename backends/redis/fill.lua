-- fill(version, ttl, value) stores the primary value, and answers whether it did.
local at = now()
local e = read(at)
if not e or e.state ~= 'V' or e.version ~= ARGV[1] then
  return 0
end
e.loading, e.value = 0, ARGV[3]
write(e, at + ARGV[2])
return 1
