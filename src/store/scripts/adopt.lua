-- include common enqueue_common
-- KEYS meta, delayed, ctl, events, then the global queue and the one that is
-- adopted. ARGV after which time, the mark that was found ('': begin), where in
-- delayed to go on (-1: its list first), how many to look at, 2, each queue.
-- Answers the mark (-1: its time is not over; 0: somebody claims from it again),
-- how many were moved, where to go on (-1: its list; -2: that was all).
local now = clock()
local queues = read_queues(5, 6, 2)
local all, own = queues[1], queues[2]
local bound = tonumber(ARGV[4])
local name = 'a:' .. own.name
local mark = redis.call('HGET', KEYS[3], name)
if ARGV[2] ~= '' and mark ~= ARGV[2] then
	return { 0, 0, -2 }
end
if not mark then
	mark = string.format('%.0f', now)
	redis.call('HSET', KEYS[3], name, mark)
end
if now - tonumber(mark) < tonumber(ARGV[1]) then
	return { -1, 0, -2 }
end
local from = tonumber(ARGV[3])
local ids, next_one
if from < 0 then
	ids = redis.call('LPOP', KEYS[own.first], bound) or {}
	next_one = #ids < bound and 0 or -1
else
	ids = redis.call('ZRANGE', KEYS[2], from, from + bound - 1)
	next_one = #ids < bound and -2 or from + bound
end
local found = fetch(KEYS[1], ids)
local records, moved = {}, {}
for i, id in ipairs(ids) do
	local task = parse(found[i])
	if task and task.state == 'q' and task.queue == own.name then
		task.queue = ''
		records[#records + 1] = id
		records[#records + 1] = format(task)
		moved[#moved + 1] = id
	end
end
many('HSET', KEYS[1], records)
if from < 0 then
	many('RPUSH', KEYS[all.first], moved)
end
if #moved > 0 then
	event(KEYS[4], 'adopted', own.name, '', 'tasks=' .. #moved)
	wake(all.wake)
end
return { mark, #moved, next_one }
