-- include common
-- KEYS names, pings, nonces. ARGV prefix, nonce, host, wanted, whether its last
-- holder is vouched for as dead, after how long a holder is dead. A holder is
-- kept as time|nonce|host.
local now = clock()
local prefix, nonce, host, dead = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[6])

local function is_free(name, is_vouched)
	local holder = redis.call('HGET', KEYS[1], name)
	if not holder then
		return true
	end
	local taken, its, where = string.match(holder, '^(%d+)|([^|]*)|(.*)$')
	if not taken or its == nonce or (is_vouched and where == host) then
		return true
	end
	local heard = tonumber(taken)
	if redis.call('HGET', KEYS[3], name) == its then
		heard = math.max(heard,
			tonumber(redis.call('HGET', KEYS[2], name) or 0))
	end
	return dead > 0 and now - heard > dead
end

local number = tonumber(ARGV[4])
if number == 0 or not is_free(prefix .. '-' .. number, ARGV[5] == '1') then
	number = 1
	while not is_free(prefix .. '-' .. number, false) do
		number = number + 1
	end
end
redis.call('HSET', KEYS[1], prefix .. '-' .. number,
	now .. '|' .. nonce .. '|' .. host)
return number
