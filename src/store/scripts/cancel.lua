-- include common lease_common
-- KEYS data, meta, delayed, uniq, errors, progress, events. ARGV ids. An id that
-- is left in a list is skipped by the claim that meets it.
local k = { data = KEYS[1], meta = KEYS[2], uniq = KEYS[4], errors = KEYS[5],
	progress = KEYS[6] }
local results = {}
for i, id in ipairs(ARGV) do
	local task = parse(redis.call('HGET', k.meta, id))
	if not task or task.state == 'd' then
		results[i] = 5
	else
		if task.state ~= 'x' then
			event(KEYS[7], 'cancelled', id, task.owner,
				task.state == 'q' and 'waiting' or 'running')
		end
		if task.state == 'q' then
			forget(k, task, id)
			redis.call('ZREM', KEYS[3], id)
			results[i] = 1
		else
			task.state = 'x'
			redis.call('HSET', k.meta, id, format(task))
			results[i] = 7
		end
	end
end
return results
