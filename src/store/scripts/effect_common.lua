-- An effect of a completion on the cache: s(ave), a(dd), d(estroy).
local function change_cache(key, kind, value, of_type, ttl, now)
	if kind == 's' then
		redis.call('UNLINK', key)
		redis.call('HSET', key, 'v', value, 'c', now, 't', of_type)
	elseif kind == 'a' then
		local is_new = redis.call('EXISTS', key) == 0
		-- To what is no number nothing can be added.
		if type(redis.pcall('HINCRBY', key, 'v', value)) == 'table' or
				not is_new then
			return
		end
		redis.call('HSET', key, 'c', now)
	else
		redis.call('UNLINK', key)
		return
	end
	if ttl > 0 then
		redis.call('HSET', key, 'x', now + ttl)
		redis.call('PEXPIREAT', key, now + ttl)
	end
end
