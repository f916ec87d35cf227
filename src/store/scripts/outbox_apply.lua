-- include common effect_common
-- KEYS entry, what is staged for it. ARGV by what name. What has been made is
-- staged no more: it is made once, whoever comes.
local packed = redis.call('HGET', KEYS[2], ARGV[1])
if not packed then
	return 0
end
redis.call('HDEL', KEYS[2], ARGV[1])
local effects = cmsgpack.unpack(packed)
local now = clock()
for i = 1, #effects, 4 do
	change_cache(KEYS[1], effects[i], effects[i + 1], effects[i + 2],
		tonumber(effects[i + 3]), now)
end
return 1
