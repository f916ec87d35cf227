-- KEYS lock. ARGV owner, token (0: any).
local holder = redis.call('GET', KEYS[1])
if not holder then
	return 0
end
local token, owner = string.match(holder, '^(%d+)|(.*)$')
if owner ~= ARGV[1] or (ARGV[2] ~= '0' and ARGV[2] ~= token) then
	return 0
end
return redis.call('DEL', KEYS[1])
