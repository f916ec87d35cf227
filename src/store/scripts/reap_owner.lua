-- include common
-- KEYS data, meta, processing, delayed, dead, uniq, errors, ctl, wake. ARGV owner,
-- where among all leases to go on, how many to look at. Answers how many there
-- were, and where to go on; -1: that was all.
local now = clock()
local first, bound = tonumber(ARGV[2]), tonumber(ARGV[3])
local ids = redis.call('ZRANGE', KEYS[3], first, first + bound - 1)
local found = fetch(KEYS[2], ids)
local count = 0
for i, id in ipairs(ids) do
	local task = parse(found[i])
	if task and (task.state == 'a' or task.state == 'x') and
			task.owner == ARGV[1] then
		count = count + 1
		redis.call('ZREM', KEYS[3], id)
		running(KEYS[8], task.queue, -1)
		task.owner = ''
		if task.state == 'x' then
			free_unique(KEYS[6], task, id)
			redis.call('HDEL', KEYS[1], id)
			redis.call('HDEL', KEYS[2], id)
			redis.call('HDEL', KEYS[7], id)
		elseif task.attempt >= task.most then
			task.state = 'd'
			redis.call('HSET', KEYS[2], id, format(task))
			redis.call('HSETNX', KEYS[7], id,
				'its worker died, or lost its lease, in the ' ..
				'last attempt')
			redis.call('ZADD', KEYS[5], now, id)
			free_unique(KEYS[6], task, id)
		else
			task.state = 'q'
			redis.call('HSET', KEYS[2], id, format(task))
			redis.call('ZADD', KEYS[4], 0, id)
		end
	end
end
if count > 0 then
	wake(KEYS[9])
end
return { count, #ids < bound and -1 or first + #ids - count }
