-- include common
-- KEYS data, meta, processing, owned, delayed, dead, uniq, errors, ctl, wake.
-- ARGV owner, bound. Answers how many there were.
local now = clock()
local members = redis.call('ZRANGEBYLEX', KEYS[4], '[' .. ARGV[1] .. '\0',
	'(' .. ARGV[1] .. '\1', 'LIMIT', 0, tonumber(ARGV[2]))
for _, member in ipairs(members) do
	local id = string.sub(member, #ARGV[1] + 2)
	local task = parse(redis.call('HGET', KEYS[2], id))
	redis.call('ZREM', KEYS[4], member)
	if task and (task.state == 'a' or task.state == 'x') and
			task.owner == ARGV[1] then
		redis.call('ZREM', KEYS[3], id)
		running(KEYS[9], task.queue, -1)
		task.owner = ''
		if task.state == 'x' then
			free_unique(KEYS[7], task, id)
			redis.call('HDEL', KEYS[1], id)
			redis.call('HDEL', KEYS[2], id)
			redis.call('HDEL', KEYS[8], id)
		elseif task.attempt >= task.most then
			task.state = 'd'
			redis.call('HSET', KEYS[2], id, format(task))
			redis.call('HSETNX', KEYS[8], id,
				'its worker died, or lost its lease, in the ' ..
				'last attempt')
			redis.call('ZADD', KEYS[6], now, id)
			free_unique(KEYS[7], task, id)
		else
			task.state = 'q'
			redis.call('HSET', KEYS[2], id, format(task))
			redis.call('ZADD', KEYS[5], 0, id)
		end
	end
end
if #members > 0 then
	wake(KEYS[10])
end
return #members
