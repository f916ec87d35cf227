-- include common
-- KEYS meta, progress. ARGV id, token, progress.
local task = parse(redis.call('HGET', KEYS[1], ARGV[1]))
if not task or task.token ~= ARGV[2] or
		(task.state ~= 'a' and task.state ~= 'x') then
	return 6
end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
return task.state == 'x' and 7 or 1
