-- include common
-- KEYS entry, lock. ARGV value, type, ttl, owner. 0: locked by another.
local now = clock()
local holder = redis.call('GET', KEYS[2])
if holder and string.match(holder, '^%d+|(.*)$') ~= ARGV[4] then
	return 0
end
redis.call('UNLINK', KEYS[1])
local ttl = tonumber(ARGV[3])
if ttl > 0 then
	redis.call('HSET', KEYS[1], 'v', ARGV[1], 'c', now, 't', ARGV[2], 'x',
		now + ttl)
	redis.call('PEXPIREAT', KEYS[1], now + ttl)
elseif ARGV[2] ~= '' then
	redis.call('HSET', KEYS[1], 'v', ARGV[1], 'c', now, 't', ARGV[2])
else
	redis.call('HSET', KEYS[1], 'v', ARGV[1], 'c', now)
end
return 1
