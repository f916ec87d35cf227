-- include common lease_common enqueue_common
-- KEYS data, meta, processing, delayed, dead, uniq, errors, ctl, progress, events,
-- queues, what was seen, then the queue that is looked at. ARGV what is looked
-- at, where to begin, how many, whether it is repaired, 1, the queue. Answers how
-- many were looked at, how many of each kind do not fit, how many were repaired,
-- and what is next: a letter, where to begin, and '|' with a queue.
local k = { data = KEYS[1], meta = KEYS[2], processing = KEYS[3],
	delayed = KEYS[4], dead = KEYS[5], uniq = KEYS[6], errors = KEYS[7],
	ctl = KEYS[8], progress = KEYS[9], events = KEYS[10] }
local known, marks = KEYS[11], KEYS[12]
local queue = read_queues(13, 6, 1)[1]
local phase, from, bound, repairs = ARGV[1], ARGV[2], tonumber(ARGV[3]),
	ARGV[4] == '1'
local now = clock()
local LOST, UNLEASED, STRAY, DAMAGED, UNIQUE, LEFT, COUNT = 1, 2, 3, 4, 5, 6, 7
local found = { 0, 0, 0, 0, 0, 0, 0 }
local looked, repaired = 0, 0

local function find(kind)
	found[kind] = found[kind] + 1
	repaired = repaired + (repairs and 1 or 0)
	return repairs
end

-- The one after it, or the global one first.
local function next_queue()
	local names = redis.call('SMEMBERS', known)
	local best
	for _, name in ipairs(names) do
		if name > queue.name and (not best or name < best) then
			best = name
		end
	end
	return best
end

-- Waiting: what is seen is marked, so that what is not can be told.
local function look_at_lists()
	local offset, left, removed = tonumber(from), bound, 0
	if queue.name == '' and offset == 0 then
		redis.call('UNLINK', marks)
	end
	local position = offset
	for list = queue.first, queue.first + queue.lists - 1 do
		local key = KEYS[list]
		local length = redis.call('LLEN', key)
		if left > 0 and position < length then
			local ids = redis.call('LRANGE', key, position,
				position + left - 1)
			local records = fetch(k.meta, ids)
			for i, id in ipairs(ids) do
				local task = parse(records[i])
				if not task or task.state ~= 'q' or
						task.queue ~= queue.name or
						redis.call('SADD', marks, id) == 0 then
					-- A claim drops it where that is too much work.
					if length > 10000 then
						found[STRAY] = found[STRAY] + 1
					elseif find(STRAY) then
						redis.call('LREM', key, -1, id)
						removed = removed + 1
					end
				end
			end
			left = left - #ids
			looked = looked + #ids
			position = position + #ids
		end
		position = math.max(0, position - length)
	end
	redis.call('PEXPIRE', marks, 600000)
	if left == 0 then
		return 'l' .. (offset + bound - removed) .. '|' .. queue.name
	end
	local name = next_queue()
	return name and 'l0|' .. name or 'd0|'
end

-- Where states are kept by time.
local function look_at_set(key, states, following)
	local ids = redis.call('ZRANGE', key, from, from + bound - 1)
	local records = fetch(k.meta, ids)
	local removed = 0
	for i, id in ipairs(ids) do
		local task = parse(records[i])
		if not task or not string.find(states, task.state, 1, true) then
			if find(STRAY) then
				redis.call('ZREM', key, id)
				removed = removed + 1
			end
		end
	end
	looked = looked + #ids
	if #ids < bound then
		return following
	end
	return phase .. (from + bound - removed) .. '|'
end

local function look_at_record(id, record)
	local task = parse(record)
	local is_held = task and (task.state == 'a' or task.state == 'x')
	if not task or (not is_held and
			redis.call('HEXISTS', k.data, id) == 0) then
		if find(DAMAGED) then
			forget(k, task or { unique = '' }, id)
			redis.call('ZREM', k.delayed, id)
			redis.call('ZREM', k.processing, id)
			redis.call('ZREM', k.dead, id)
		end
	elseif is_held then
		if not redis.call('ZSCORE', k.processing, id) and find(UNLEASED) then
			redis.call('ZADD', k.processing, now, id)
		end
	elseif task.state == 'd' then
		if not redis.call('ZSCORE', k.dead, id) and find(LOST) then
			redis.call('ZADD', k.dead, now, id)
		end
	elseif redis.call('SISMEMBER', marks, id) == 0 and
			not redis.call('ZSCORE', k.delayed, id) and find(LOST) then
		redis.call('ZADD', k.delayed, 0, id)
	end
end

local function look_at_unique(name, id)
	local task = parse(redis.call('HGET', k.meta, id))
	if (not task or task.state == 'd' or
			string.sub(task.unique, 2) ~= name) and find(UNIQUE) then
		redis.call('HDEL', k.uniq, name)
	end
end

local function look_at_hash(key, look, some, following)
	local page = redis.call('HSCAN', key, from, 'COUNT', some)
	for i = 1, #page[2], 2 do
		looked = looked + 1
		look(page[2][i], page[2][i + 1])
	end
	if page[1] == '0' then
		return following
	end
	return phase .. page[1] .. '|'
end

local function look_at_parts(key, some, following)
	if redis.call('HLEN', key) == 0 or (key == k.data and
			redis.call('HLEN', key) == redis.call('HLEN', k.meta)) then
		return following
	end
	return look_at_hash(key, function(id)
		if redis.call('HEXISTS', k.meta, id) == 0 and find(LEFT) then
			redis.call('HDEL', key, id)
		end
	end, some, following)
end

-- What runs of each queue: all at once, or it would not be true.
local function look_at_counts()
	if redis.call('ZCARD', k.processing) > 20000 then
		return ''
	end
	local ids = redis.call('ZRANGE', k.processing, 0, -1)
	local counts = {}
	for _, record in ipairs(fetch(k.meta, ids)) do
		local task = parse(record)
		if task then
			counts[task.queue] = (counts[task.queue] or 0) + 1
		end
	end
	local control = redis.call('HGETALL', k.ctl)
	for i = 1, #control, 2 do
		local name = string.match(control[i], '^r:(.*)$')
		if name then
			looked = looked + 1
			if tonumber(control[i + 1]) ~= (counts[name] or 0) and
					find(COUNT) then
				redis.call('HSET', k.ctl, control[i], counts[name] or 0)
			end
			counts[name] = nil
		end
	end
	for name, count in pairs(counts) do
		if find(COUNT) then
			redis.call('HSET', k.ctl, 'r:' .. name, count)
		end
	end
	redis.call('UNLINK', marks)
	return ''
end

local following
if phase == 'l' then
	following = look_at_lists()
elseif phase == 'd' then
	following = look_at_set(k.delayed, 'q', 'p0|')
elseif phase == 'p' then
	following = look_at_set(k.processing, 'ax', 'x0|')
elseif phase == 'x' then
	following = look_at_set(k.dead, 'd', 'm0|')
elseif phase == 'm' then
	following = look_at_hash(k.meta, look_at_record, bound, 'u0|')
elseif phase == 'u' then
	following = look_at_hash(k.uniq, look_at_unique, bound, 'e0|')
elseif phase == 'e' then
	following = look_at_parts(k.data, 20, 'r0|')
elseif phase == 'r' then
	following = look_at_parts(k.errors, 100, 'g0|')
elseif phase == 'g' then
	following = look_at_parts(k.progress, 100, 'c0|')
else
	following = look_at_counts()
end
if repaired > 0 then
	event(k.events, 'repaired', '', '', 'things=' .. repaired)
	wake(queue.wake)
end
found[#found + 1] = repaired
found[#found + 1] = following
table.insert(found, 1, looked)
return found
