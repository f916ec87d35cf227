-- KEYS log, its facts, the life of the store. ARGV what a new life is called.
redis.call('SET', KEYS[3], ARGV[1], 'NX')
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
local oldest_ms = now_ms - (redis.call('HGET', KEYS[2], 'ms') or 0)
local kept = { redis.call('GET', KEYS[3]) }
for _, entry in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
	local at, message = string.match(entry, '^(%d+) (.*)$')
	if at and tonumber(at) >= oldest_ms then
		kept[#kept + 1] = message
	end
end
return kept
