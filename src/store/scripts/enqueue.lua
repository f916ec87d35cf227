-- include common enqueue_common
-- KEYS data, meta, delayed, done, uniq, ctl, queues, then queues.
-- ARGV queues, each; then id, envelope, queue, priority, tail, delay, at,
-- unique key of each task. Answers a result and a holder's id for each.
local keys = { data = KEYS[1], meta = KEYS[2], delayed = KEYS[3],
	done = KEYS[4], uniq = KEYS[5] }
local now = clock()
local count = tonumber(ARGV[1])
local queues, _, at = read_queues(8, 2, count)
register(queues, count, KEYS[7])
for i = 1, count do
	local queue = queues[i]
	queue.depth = tonumber(redis.call('HGET', KEYS[6], 'd:' .. queue.name)
		or 0)
	queue.length = queue.depth > 0 and length_of(queue) or 0
end

-- What most tasks are (new, due now, no unique key) is written together.
local ids = {}
for i = at, #ARGV, 8 do
	ids[#ids + 1] = ARGV[i]
end
local known = fetch(KEYS[2], ids)
local done = fetch(KEYS[4], ids)
local data, meta, lists, results, seen = {}, {}, {}, {}, {}
for i = 1, #ids do
	local a = at + (i - 1) * 8
	local id, unique = ids[i], ARGV[a + 7]
	local queue = queues[tonumber(ARGV[a + 2]) + 1]
	local result, holder = 1, ''
	if known[i] or done[i] or seen[id] then
		result = 2
	elseif unique ~= '' or ARGV[a + 5] ~= '0' or ARGV[a + 6] ~= '0' or
			queue.depth > 0 then
		result, holder = add_task(keys, { id = id,
			envelope = ARGV[a + 1], queue = queue,
			priority = ARGV[a + 3], tail = ARGV[a + 4],
			delay = tonumber(ARGV[a + 5]), at = tonumber(ARGV[a + 6]),
			unique = unique }, now, true)
	else
		data[#data + 1] = id
		data[#data + 1] = ARGV[a + 1]
		meta[#meta + 1] = id
		meta[#meta + 1] = 'q|0|0|' .. ARGV[a + 4]
		local list = list_of(queue, ARGV[a + 3])
		local some = lists[list] or {}
		some[#some + 1] = id
		lists[list] = some
		queue.is_new = true
	end
	if result == 1 then
		seen[id] = true
	end
	results[#results + 1] = result
	results[#results + 1] = holder or ''
end
many('HSET', KEYS[1], data)
many('HSET', KEYS[2], meta)
for list, some in pairs(lists) do
	many('RPUSH', list, some)
end
for i = 1, count do
	if queues[i].is_new then
		wake(queues[i].wake)
	end
end
return results
