-- include common
-- KEYS data, meta, processing, delayed, uniq, errors, ctl, wake. ARGV
-- id and token of each.
local results = {}
local is_due = false
for i = 1, #ARGV, 2 do
	local id, token = ARGV[i], ARGV[i + 1]
	local task = parse(redis.call('HGET', KEYS[2], id))
	if not task or task.token ~= token or
			(task.state ~= 'a' and task.state ~= 'x') then
		results[#results + 1] = 6
	else
		redis.call('ZREM', KEYS[3], id)
		running(KEYS[7], task.queue, -1)
		task.owner = ''
		if task.state == 'x' then
			free_unique(KEYS[5], task, id)
			redis.call('HDEL', KEYS[1], id)
			redis.call('HDEL', KEYS[2], id)
			redis.call('HDEL', KEYS[6], id)
			results[#results + 1] = 7
		else
			task.state = 'q'
			task.attempt = math.max(0, task.attempt - 1)
			redis.call('HSET', KEYS[2], id, format(task))
			redis.call('ZADD', KEYS[4], 0, id)
			is_due = true
			results[#results + 1] = 1
		end
	end
end
if is_due then
	wake(KEYS[8])
end
return results
