-- include common
-- KEYS entries. Answers of each: its kind (v, l, or nothing), when it expires,
-- and of a value that, its type and when it was made; of a list its items.
local now = clock()
local answer = {}
for i, key in ipairs(KEYS) do
	local kind = redis.call('TYPE', key).ok
	local left = redis.call('PTTL', key)
	local expires = left > 0 and string.format('%.0f', now + left) or '0'
	if kind == 'hash' then
		local found = redis.call('HMGET', key, 'v', 't', 'c', 'x')
		answer[i] = { found[1] and 'v' or '', found[4] or expires,
			found[1] or '', found[2] or '', found[3] or '0' }
	elseif kind == 'list' then
		answer[i] = { 'l', expires, redis.call('LRANGE', key, 0, -1) }
	else
		answer[i] = { '' }
	end
end
return answer
