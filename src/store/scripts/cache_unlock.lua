-- include common
-- KEYS lock, fence, who waits. ARGV owner, token (0: any), for how long it is
-- kept for who is next: he may be dead.
local holder = redis.call('GET', KEYS[1])
if not holder then
	return 0
end
local token, owner = string.match(holder, '^(%d+)|(.*)$')
if owner ~= ARGV[1] or (ARGV[2] ~= '0' and ARGV[2] ~= token) then
	return 0
end
-- For whom it was kept before did not come.
redis.call('ZREMRANGEBYSCORE', KEYS[3], 0, 0)
local next_one = redis.call('ZRANGE', KEYS[3], 0, 0)[1]
if not next_one then
	return redis.call('DEL', KEYS[1])
end
local _, us = clock()
token = string.format('%.0f',
	math.max(tonumber(redis.call('GET', KEYS[2]) or 0) + 1, us))
redis.call('SET', KEYS[2], token)
redis.call('ZADD', KEYS[3], 0, next_one)
redis.call('SET', KEYS[1], token .. '|' .. next_one, 'PX', ARGV[3])
return 1
