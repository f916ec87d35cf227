-- include common lease_common
-- KEYS data, meta, processing, delayed, dead, uniq, errors, ctl, wake, progress,
-- events. ARGV dead ones to keep, for how long, then of each: id, token, error,
-- delay, whether it is final.
local k = { data = KEYS[1], meta = KEYS[2], processing = KEYS[3],
	delayed = KEYS[4], dead = KEYS[5], uniq = KEYS[6], errors = KEYS[7],
	ctl = KEYS[8], progress = KEYS[10], events = KEYS[11],
	keep = tonumber(ARGV[1]), age = tonumber(ARGV[2]) }
local now = clock()
never_refused(KEYS[3])
local results = {}
local is_due = false
for i = 3, #ARGV, 5 do
	local id, token, reason, delay, is_final = ARGV[i], ARGV[i + 1],
		ARGV[i + 2], tonumber(ARGV[i + 3]), ARGV[i + 4] == '1'
	local task = parse(redis.call('HGET', k.meta, id))
	if not task or task.token ~= token or
			(task.state ~= 'a' and task.state ~= 'x') then
		results[#results + 1] = 6
	else
		take_lease(k, task, id)
		if task.state == 'x' then
			forget(k, task, id)
			results[#results + 1] = 7
		elseif is_final or task.attempt >= task.most then
			bury(k, task, id, now, reason)
			results[#results + 1] = 9
		else
			event(k.events, 'failed', id, task.owner,
				string.sub(reason, 1, 200))
			task.state, task.owner = 'q', ''
			redis.call('HSET', k.meta, id, format(task))
			redis.call('HSET', k.errors, id, reason)
			redis.call('ZADD', k.delayed, now + delay, id)
			is_due = true
			results[#results + 1] = 8
		end
	end
end
if is_due then
	wake(KEYS[9])
end
return results
