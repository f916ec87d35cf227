-- include common lease_common
-- KEYS data, meta, delayed, dead, uniq, errors, done, done_at, progress. ARGV ids.
local k = { data = KEYS[1], meta = KEYS[2], uniq = KEYS[5], errors = KEYS[6],
	progress = KEYS[9] }
local results = {}
for i, id in ipairs(ARGV) do
	local record = redis.call('HGET', k.meta, id)
	local task = parse(record)
	if task and (task.state == 'a' or task.state == 'x') then
		results[i] = 10
	elseif record then
		forget(k, task or { unique = '' }, id)
		redis.call('ZREM', KEYS[3], id)
		redis.call('ZREM', KEYS[4], id)
		results[i] = 1
	elseif redis.call('HDEL', KEYS[7], id) == 1 then
		redis.call('ZREM', KEYS[8], id)
		results[i] = 1
	else
		results[i] = 5
	end
end
return results
