-- include common
-- KEYS lock, fence, who waits. ARGV owner, ttl, for how long he waits (0: no
-- longer). Answers whether it is his, the token, the time that is left, whether
-- it is new, and his place among those who wait. A lock is kept as token|owner;
-- who waits, by when he came, and with 0 while it is kept for him.
local holder = redis.call('GET', KEYS[1])
local token, owner
if holder then
	token, owner = string.match(holder, '^(%d+)|(.*)$')
	if owner ~= ARGV[1] then
		local place = 0
		if ARGV[3] ~= '0' then
			local _, us = clock()
			-- With 0 he came too late for what was kept for him.
			local since = redis.call('ZSCORE', KEYS[3], ARGV[1])
			if not since or since == '0' then
				redis.call('ZADD', KEYS[3], string.format('%.0f', us),
					ARGV[1])
			end
			if redis.call('PTTL', KEYS[3]) < tonumber(ARGV[3]) then
				redis.call('PEXPIRE', KEYS[3], ARGV[3])
			end
			place = redis.call('ZRANK', KEYS[3], ARGV[1])
		else
			redis.call('ZREM', KEYS[3], ARGV[1])
		end
		return { 0, token or '0', redis.call('PTTL', KEYS[1]), 0, place }
	end
else
	local _, us = clock()
	local last = tonumber(redis.call('GET', KEYS[2]) or 0)
	token = string.format('%.0f', math.max(last + 1, us))
	redis.call('SET', KEYS[2], token)
end
redis.call('SET', KEYS[1], token .. '|' .. ARGV[1], 'PX', ARGV[2])
local was_kept = redis.call('ZSCORE', KEYS[3], ARGV[1]) == '0'
redis.call('ZREM', KEYS[3], ARGV[1])
return { 1, token, ARGV[2], (not holder or was_kept) and 1 or 0, 0 }
