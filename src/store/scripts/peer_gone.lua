-- For a minute it is known what became of a peer. Kept by nonce, as time|l|id of
-- one that left, time|d|id of one that was dead.
local function note_gone(key, now, id, nonce, has_left)
	local all = redis.call('HGETALL', key)
	for i = 1, #all, 2 do
		local since = tonumber(string.match(all[i + 1], '^%d+') or 0)
		if now - since > 60000 then
			redis.call('HDEL', key, all[i])
		end
	end
	redis.call('HSET', key, nonce,
		string.format('%d|%s|%s', now, has_left and 'l' or 'd', id))
end
