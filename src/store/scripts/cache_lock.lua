-- include common
-- KEYS lock, fence. ARGV owner, ttl. Answers whether it is his, the token, and
-- the time that is left. A lock is kept as token|owner.
local holder = redis.call('GET', KEYS[1])
local token, owner
if holder then
	token, owner = string.match(holder, '^(%d+)|(.*)$')
	if owner ~= ARGV[1] then
		return { 0, token or '0', redis.call('PTTL', KEYS[1]) }
	end
else
	local _, us = clock()
	local last = tonumber(redis.call('GET', KEYS[2]) or 0)
	token = string.format('%.0f', math.max(last + 1, us))
	redis.call('SET', KEYS[2], token)
end
redis.call('SET', KEYS[1], token .. '|' .. ARGV[1], 'PX', ARGV[2])
return { 1, token, ARGV[2] }
