-- Queues come as KEYS from `at` on: the lists of each by priority, then its
-- wake list; and as ARGV: name, how many lists.
local function read_queues(keys_at, argument, count)
	local queues = {}
	for i = 1, count do
		local queue = { name = ARGV[argument],
			lists = tonumber(ARGV[argument + 1]), first = keys_at }
		queue.wake = KEYS[keys_at + queue.lists]
		keys_at = keys_at + queue.lists + 1
		argument = argument + 2
		queues[i] = queue
		queues[queue.name] = queue
	end
	return queues, keys_at, argument
end

local function list_of(queue, priority)
	return KEYS[queue.first + math.min(tonumber(priority), queue.lists - 1)]
end

local function length_of(queue)
	local length = 0
	for i = queue.first, queue.first + queue.lists - 1 do
		length = length + redis.call('LLEN', KEYS[i])
	end
	return length
end

-- keys: data, meta, delayed, done, uniq. item: id, envelope, queue, priority,
-- tail of its record, delay, at, unique key. Answers a number, and whose the
-- unique key is.
local function add_task(keys, item, now, has_limits)
	local id = item.id
	if redis.call('HEXISTS', keys.meta, id) == 1 or
			redis.call('HEXISTS', keys.done, id) == 1 then
		return 2
	end
	if item.unique ~= '' then
		local holder = redis.call('HGET', keys.uniq, item.unique)
		if holder then
			local other = parse(redis.call('HGET', keys.meta, holder))
			if other and other.state ~= 'd' then
				return 3, holder
			end
		end
	end
	local queue = item.queue
	if has_limits and queue.depth > 0 and queue.length >= queue.depth then
		return 4
	end
	if item.unique ~= '' then
		redis.call('HSET', keys.uniq, item.unique, id)
	end
	redis.call('HSET', keys.data, id, item.envelope)
	redis.call('HSET', keys.meta, id, 'q|0|0|' .. item.tail)
	local due = item.at > 0 and item.at or now + item.delay
	if due > now then
		local first = redis.call('ZRANGE', keys.delayed, 0, 0, 'WITHSCORES')
		redis.call('ZADD', keys.delayed, string.format('%.0f', due), id)
		if not first[2] or tonumber(first[2]) > due then
			queue.is_new = true
		end
	else
		redis.call('RPUSH', list_of(queue, item.priority), id)
		queue.length = queue.length + 1
		queue.is_new = true
	end
	return 1
end

local function register(queues, count, set)
	for i = 1, count do
		if queues[i].name ~= '' then
			redis.call('SADD', set, queues[i].name)
		end
	end
end
