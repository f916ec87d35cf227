-- include common enqueue_common
-- KEYS data, meta, delayed, done, uniq, ctl, queues, cron, cron_at, then queues.
-- ARGV name, spec, expected, next, queues, each; then a task or nothing.
-- Answers whether it is done, and the time.
local at = redis.call('ZSCORE', KEYS[9], ARGV[1]) or '0'
if tonumber(at) ~= tonumber(ARGV[3]) then
	return { 0, at }
end
redis.call('HSET', KEYS[8], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[9], ARGV[4], ARGV[1])
local count = tonumber(ARGV[5])
local queues, _, a = read_queues(10, 6, count)
if ARGV[a] then
	register(queues, count, KEYS[7])
	local queue = queues[tonumber(ARGV[a + 2]) + 1]
	queue.depth, queue.length = 0, 0
	add_task({ data = KEYS[1], meta = KEYS[2], delayed = KEYS[3],
		done = KEYS[4], uniq = KEYS[5] }, { id = ARGV[a],
		envelope = ARGV[a + 1], queue = queue, priority = ARGV[a + 3],
		tail = ARGV[a + 4], delay = tonumber(ARGV[a + 5]),
		at = tonumber(ARGV[a + 6]), unique = ARGV[a + 7] }, clock(), false)
	if queue.is_new then
		wake(queue.wake)
	end
end
return { 1, ARGV[4] }
