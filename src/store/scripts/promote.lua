-- include common enqueue_common
-- KEYS meta, delayed, then queues. ARGV queues, each; then ids that a claim
-- found due in queues that it had not declared.
local count = tonumber(ARGV[1])
local queues, _, at = read_queues(3, 2, count)
for i = at, #ARGV do
	local id = ARGV[i]
	local task = parse(redis.call('HGET', KEYS[1], id))
	local queue = task and queues[task.queue]
	if queue and task.state == 'q' and
			redis.call('ZREM', KEYS[2], id) == 1 then
		redis.call('RPUSH', list_of(queue, task.priority), id)
		wake(queue.wake)
	end
end
return 1
