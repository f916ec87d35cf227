-- include common lease_common
-- KEYS data, meta, processing, delayed, uniq, errors, ctl, wake, progress,
-- events. ARGV id and token of each.
local k = { data = KEYS[1], meta = KEYS[2], processing = KEYS[3],
	delayed = KEYS[4], uniq = KEYS[5], errors = KEYS[6], ctl = KEYS[7],
	progress = KEYS[9], events = KEYS[10] }
local results = {}
never_refused(KEYS[3])
local is_due = false
for i = 1, #ARGV, 2 do
	local id, token = ARGV[i], ARGV[i + 1]
	local task = parse(redis.call('HGET', k.meta, id))
	if not task or task.token ~= token or
			(task.state ~= 'a' and task.state ~= 'x') then
		results[#results + 1] = 6
	else
		take_lease(k, task, id)
		event(k.events, 'released', id, task.owner, 'token=' .. token)
		if task.state == 'x' then
			forget(k, task, id)
			results[#results + 1] = 7
		else
			task.state, task.owner = 'q', ''
			task.attempt = math.max(0, task.attempt - 1)
			redis.call('HSET', k.meta, id, format(task))
			redis.call('ZADD', k.delayed, 0, id)
			is_due = true
			results[#results + 1] = 1
		end
	end
end
if is_due then
	wake(KEYS[8])
end
return results
