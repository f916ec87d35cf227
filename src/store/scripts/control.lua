-- include common
-- KEYS ctl, queues, wake, events. ARGV queue, then fields and values; '0' is none.
if ARGV[1] ~= '' then
	redis.call('SADD', KEYS[2], ARGV[1])
end
for i = 2, #ARGV, 2 do
	if ARGV[i] == 'p:' and (redis.call('HGET', KEYS[1], 'p:' .. ARGV[1]) or
			'0') ~= ARGV[i + 1] then
		event(KEYS[4], ARGV[i + 1] == '0' and 'resumed' or 'paused',
			ARGV[1], '', '')
	end
	if ARGV[i + 1] == '0' then
		redis.call('HDEL', KEYS[1], ARGV[i] .. ARGV[1])
	else
		redis.call('HSET', KEYS[1], ARGV[i] .. ARGV[1], ARGV[i + 1])
	end
end
wake(KEYS[3])
return 1
