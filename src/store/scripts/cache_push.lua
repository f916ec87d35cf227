-- KEYS list. ARGV value, ttl.
local length = redis.call('RPUSH', KEYS[1], ARGV[1])
if ARGV[2] ~= '0' then
	redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return length
