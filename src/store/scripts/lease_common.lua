-- How a task leaves the hands of a worker. k: the keys data, meta, processing,
-- delayed, dead, uniq, errors, ctl, progress, events; and of the dead, how many
-- are kept, and for how long.

local function forget(k, task, id)
	free_unique(k.uniq, task, id)
	redis.call('HDEL', k.data, id)
	redis.call('HDEL', k.meta, id)
	redis.call('HDEL', k.errors, id)
	redis.call('HDEL', k.progress, id)
end

-- Some old ones go with each new one.
local function trim_dead(k, now)
	local over = redis.call('ZCARD', k.dead) - k.keep
	local old
	if over > 0 then
		old = redis.call('ZRANGE', k.dead, 0, math.min(over, 8) - 1)
	else
		old = redis.call('ZRANGEBYSCORE', k.dead, '-inf', now - k.age,
			'LIMIT', 0, 8)
	end
	for _, id in ipairs(old) do
		redis.call('ZREM', k.dead, id)
		local task = parse(redis.call('HGET', k.meta, id))
		if not task or task.state == 'd' then
			forget(k, task or { unique = '' }, id)
		end
	end
end

-- The reason is nil where one that is known already is as good.
local function bury(k, task, id, now, reason)
	local owner = task.owner
	task.state, task.owner = 'd', ''
	redis.call('HSET', k.meta, id, format(task))
	if reason then
		redis.call('HSET', k.errors, id, reason)
	else
		redis.call('HSETNX', k.errors, id,
			'its worker died, or lost its lease, in the last attempt')
	end
	redis.call('ZADD', k.dead, now, id)
	free_unique(k.uniq, task, id)
	event(k.events, 'dead', id, owner, string.sub(reason or '', 1, 200))
	trim_dead(k, now)
end

-- Out of processing; what becomes of it is the caller's.
local function take_lease(k, task, id)
	redis.call('ZREM', k.processing, id)
	running(k.ctl, task.queue, -1)
end

-- The leases ran out, or their owner is dead: gathered, then written together.
local back = { gone = {}, records = {}, due = {}, freed = {} }

local function hand_back(k, task, id, now, kind)
	back.gone[#back.gone + 1] = id
	back.freed[task.queue] = (back.freed[task.queue] or 0) + 1
	event(k.events, kind, id, task.owner,
		'token=' .. task.token .. ' attempt=' .. task.attempt)
	if task.state == 'x' then
		forget(k, task, id)
	elseif task.attempt >= task.most then
		bury(k, task, id, now, nil)
	else
		local n = #back.records
		task.state, task.owner = 'q', ''
		back.records[n + 1] = id
		back.records[n + 2] = format(task)
		back.due[n + 1] = '0'
		back.due[n + 2] = id
	end
end

local function finish_hand_back(k)
	many('ZREM', k.processing, back.gone)
	many('HSET', k.meta, back.records)
	many('ZADD', k.delayed, back.due)
	for queue, some in pairs(back.freed) do
		running(k.ctl, queue, -some)
	end
end
