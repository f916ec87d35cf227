-- include common
-- KEYS entry. ARGV what to add, ttl. The sum as text: a script's numbers are
-- too short for it.
local is_new = redis.call('EXISTS', KEYS[1]) == 0
redis.call('HINCRBY', KEYS[1], 'v', ARGV[1])
if is_new then
	local now, ttl = clock(), tonumber(ARGV[2])
	redis.call('HSET', KEYS[1], 'c', now)
	if ttl > 0 then
		redis.call('HSET', KEYS[1], 'x', now + ttl)
		redis.call('PEXPIREAT', KEYS[1], now + ttl)
	end
end
return redis.call('HGET', KEYS[1], 'v')
