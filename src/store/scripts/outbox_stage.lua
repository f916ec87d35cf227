-- KEYS what is staged for an entry of the cache. ARGV by what name, for how long,
-- then kind, value, type and ttl of each effect.
local effects = {}
for i = 3, #ARGV do
	effects[i - 2] = ARGV[i]
end
redis.call('HSET', KEYS[1], ARGV[1], cmsgpack.pack(effects))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
