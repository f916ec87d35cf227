-- What the scripts share. Time is the server's alone, all keys are declared,
-- and a record that somebody damaged by hand never raises an error.

local function clock()
	local time = redis.call('TIME')
	return time[1] * 1000 + math.floor(time[2] / 1000),
		time[1] * 1000000 + time[2]
end

-- A whole number of a million or more as text: many of them are made, and with
-- '%.0f', or where Redis does it, each takes several times as long.
local function digits(number)
	local high = math.floor(number / 1000000)
	return string.format('%d%06d', high, number - high * 1000000)
end

-- A record is state|token|attempt|attempts at most|priority|queue|owner|unique
-- key with its scope (d, s) in front; or nil.
local function parse(record)
	if not record then
		return nil
	end
	local state, token, attempt, most, priority, queue, owner, unique =
		string.match(record,
			'^([qaxd])|(%d+)|(%d+)|(%d+)|(%d)|([^|]*)|([^|]*)|(.*)$')
	if not state then
		return nil
	end
	return { state = state, token = token, attempt = tonumber(attempt),
		most = tonumber(most), priority = priority, queue = queue,
		owner = owner, unique = unique }
end

local function format(task)
	return task.state .. '|' .. task.token .. '|' .. task.attempt .. '|' ..
		task.most .. '|' .. task.priority .. '|' .. task.queue .. '|' ..
		task.owner .. '|' .. task.unique
end

-- One command for many arguments, in pieces that the stack can hold.
local function many(command, key, arguments)
	local count = #arguments
	if count == 0 then
		return
	end
	for first = 1, count, 600 do
		local last = math.min(first + 599, count)
		redis.call(command, key, unpack(arguments, first, last))
	end
end

local function fetch(key, fields)
	local values = {}
	for first = 1, #fields, 600 do
		local last = math.min(first + 599, #fields)
		local some = redis.call('HMGET', key, unpack(fields, first, last))
		for i = 1, #some do
			values[first + i - 1] = some[i]
		end
	end
	return values
end

local function wake(key)
	if redis.call('LLEN', key) == 0 then
		redis.call('RPUSH', key, '1')
	end
end

-- Out of memory, a script is refused with its first write that may need some,
-- and let go on after one that does not. What has to go on begins with this:
-- no id is empty.
local function never_refused(key)
	redis.call('ZREM', key, '')
end

local function free_unique(key, task, id)
	if task.unique ~= '' then
		local name = string.sub(task.unique, 2)
		if redis.call('HGET', key, name) == id then
			redis.call('HDEL', key, name)
		end
	end
end

-- What is out of the ordinary. The names are those of store_types.h.
local function event(key, kind, id, owner, detail)
	redis.call('XADD', key, 'MAXLEN', '~', '10000', '*', 'kind', kind, 'id', id,
		'owner', owner, 'detail', detail)
end

local function running(key, queue, change)
	if redis.call('HINCRBY', key, 'r:' .. queue, change) < 0 then
		redis.call('HSET', key, 'r:' .. queue, '0')
	end
end
