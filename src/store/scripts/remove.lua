-- include common
-- KEYS data, meta, delayed, dead, uniq, errors, done, done_at. ARGV ids.
local results = {}
for i, id in ipairs(ARGV) do
	local record = redis.call('HGET', KEYS[2], id)
	local task = parse(record)
	if task and (task.state == 'a' or task.state == 'x') then
		results[i] = 10
	elseif record then
		if task then
			free_unique(KEYS[5], task, id)
		end
		redis.call('HDEL', KEYS[1], id)
		redis.call('HDEL', KEYS[2], id)
		redis.call('HDEL', KEYS[6], id)
		redis.call('ZREM', KEYS[3], id)
		redis.call('ZREM', KEYS[4], id)
		results[i] = 1
	elseif redis.call('HDEL', KEYS[7], id) == 1 then
		redis.call('ZREM', KEYS[8], id)
		results[i] = 1
	else
		results[i] = 5
	end
end
return results
