-- include common
-- KEYS data, meta, delayed, uniq, errors. ARGV ids. An id that is left in a
-- list is skipped by the claim that meets it.
local results = {}
for i, id in ipairs(ARGV) do
	local task = parse(redis.call('HGET', KEYS[2], id))
	if not task or task.state == 'd' then
		results[i] = 5
	elseif task.state == 'q' then
		free_unique(KEYS[4], task, id)
		redis.call('HDEL', KEYS[1], id)
		redis.call('HDEL', KEYS[2], id)
		redis.call('HDEL', KEYS[5], id)
		redis.call('ZREM', KEYS[3], id)
		results[i] = 1
	else
		task.state = 'x'
		redis.call('HSET', KEYS[2], id, format(task))
		results[i] = 7
	end
end
return results
