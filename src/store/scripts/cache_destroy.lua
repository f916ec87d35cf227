-- KEYS entry, lock. ARGV owner. -1: locked by another.
local holder = redis.call('GET', KEYS[2])
if holder and string.match(holder, '^%d+|(.*)$') ~= ARGV[1] then
	return -1
end
return redis.call('UNLINK', KEYS[1])
