-- KEYS names. ARGV name, nonce.
local holder = redis.call('HGET', KEYS[1], ARGV[1])
if not holder or string.match(holder, '^%d+|([^|]*)|') ~= ARGV[2] then
	return 0
end
return redis.call('HDEL', KEYS[1], ARGV[1])
