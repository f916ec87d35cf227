-- include common
-- KEYS entry. ARGV kind (v, l; m: a list's next piece), when it expires (0:
-- never), then of a value that, its type, when it was made; of a list its items.
local now = clock()
local kind, expires = ARGV[1], tonumber(ARGV[2])
if expires > 0 and expires <= now or not ARGV[3] then
	return 0
end
if kind ~= 'm' or redis.call('TYPE', KEYS[1]).ok ~= 'list' then
	redis.call('UNLINK', KEYS[1])
end
if kind == 'v' then
	local made = ARGV[5] == '0' and string.format('%.0f', now) or ARGV[5]
	redis.call('HSET', KEYS[1], 'v', ARGV[3], 'c', made)
	if ARGV[4] ~= '' then
		redis.call('HSET', KEYS[1], 't', ARGV[4])
	end
	if expires > 0 then
		redis.call('HSET', KEYS[1], 'x', ARGV[2])
	end
else
	local items = {}
	for i = 3, #ARGV do
		items[i - 2] = ARGV[i]
	end
	many('RPUSH', KEYS[1], items)
end
if expires > 0 then
	redis.call('PEXPIREAT', KEYS[1], ARGV[2])
end
return 1
