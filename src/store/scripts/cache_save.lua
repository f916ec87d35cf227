-- include common
-- KEYS entry, lock. ARGV value, type, ttl, owner. 0: locked by another.
local now = clock()
local holder = redis.call('GET', KEYS[2])
if holder and string.match(holder, '^%d+|(.*)$') ~= ARGV[4] then
	return 0
end
local ttl = tonumber(ARGV[3])
local fields, old = { 'v', ARGV[1], 'c', now }, { 'r' }
local function put_or_drop(name, value, is_put)
	if is_put then
		fields[#fields + 1] = name
		fields[#fields + 1] = value
	else
		old[#old + 1] = name
	end
end
put_or_drop('t', ARGV[2], ARGV[2] ~= '')
put_or_drop('x', now + ttl, ttl > 0)
-- This first, and not what removes something: where memory is full the first
-- write decides whether the script is refused.
local fresh = redis.pcall('HSET', KEYS[1], unpack(fields))
if type(fresh) == 'table' then
	if not string.find(fresh.err, 'WRONGTYPE', 1, true) then
		return fresh
	end
	redis.call('UNLINK', KEYS[1])
	fresh = redis.call('HSET', KEYS[1], unpack(fields))
end
if fresh < #fields / 2 then
	redis.call('HDEL', KEYS[1], unpack(old))
	if ttl == 0 then
		redis.call('PERSIST', KEYS[1])
	end
end
if ttl > 0 then
	redis.call('PEXPIREAT', KEYS[1], now + ttl)
end
return 1
