-- include common
-- KEYS data, meta, processing, delayed, dead, uniq, errors, ctl, wake.
-- ARGV of each: id, token, error, delay, whether it is final.
local now = clock()
local results = {}
local is_due = false
for i = 1, #ARGV, 5 do
	local id, token, reason, delay, is_final = ARGV[i], ARGV[i + 1],
		ARGV[i + 2], tonumber(ARGV[i + 3]), ARGV[i + 4] == '1'
	local task = parse(redis.call('HGET', KEYS[2], id))
	if not task or task.token ~= token or
			(task.state ~= 'a' and task.state ~= 'x') then
		results[#results + 1] = 6
	else
		redis.call('ZREM', KEYS[3], id)
		running(KEYS[8], task.queue, -1)
		task.owner = ''
		if task.state == 'x' then
			free_unique(KEYS[6], task, id)
			redis.call('HDEL', KEYS[1], id)
			redis.call('HDEL', KEYS[2], id)
			redis.call('HDEL', KEYS[7], id)
			results[#results + 1] = 7
		elseif is_final or task.attempt >= task.most then
			task.state = 'd'
			redis.call('HSET', KEYS[2], id, format(task))
			redis.call('HSET', KEYS[7], id, reason)
			redis.call('ZADD', KEYS[5], now, id)
			free_unique(KEYS[6], task, id)
			results[#results + 1] = 9
		else
			task.state = 'q'
			redis.call('HSET', KEYS[2], id, format(task))
			redis.call('HSET', KEYS[7], id, reason)
			redis.call('ZADD', KEYS[4], now + delay, id)
			is_due = true
			results[#results + 1] = 8
		end
	end
end
if is_due then
	wake(KEYS[9])
end
return results
