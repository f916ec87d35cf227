-- include common
-- KEYS entry. ARGV ms (0: never).
local kind = redis.call('TYPE', KEYS[1]).ok
local ttl = tonumber(ARGV[1])
if kind == 'none' then
	return 0
end
if ttl == 0 then
	redis.call('PERSIST', KEYS[1])
	if kind == 'hash' then
		redis.call('HDEL', KEYS[1], 'x')
	end
else
	local at = string.format('%.0f', clock() + ttl)
	if kind == 'hash' then
		redis.call('HSET', KEYS[1], 'x', at)
	end
	redis.call('PEXPIREAT', KEYS[1], at)
end
return 1
