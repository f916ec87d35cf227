-- include common
-- KEYS meta, delayed, dead, wake, events. ARGV ids.
local now = clock()
local results = {}
for i, id in ipairs(ARGV) do
	local task = parse(redis.call('HGET', KEYS[1], id))
	if task and task.state == 'd' and
			redis.call('ZREM', KEYS[3], id) == 1 then
		task.state = 'q'
		task.attempt = 0
		redis.call('HSET', KEYS[1], id, format(task))
		redis.call('ZADD', KEYS[2], now, id)
		event(KEYS[5], 'retried', id, '', '')
		results[i] = 1
		wake(KEYS[4])
	else
		results[i] = 5
	end
end
return results
