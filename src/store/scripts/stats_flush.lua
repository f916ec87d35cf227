-- KEYS stats, sequences. ARGV source, sequence, whether it is the source's last,
-- then name, value and what is to be done (0 add, 1 set, 2 remove) of each.
if ARGV[1] ~= '' then
	local last = redis.call('HGET', KEYS[2], ARGV[1])
	if last and tonumber(last) >= tonumber(ARGV[2]) then
		return 0
	end
	if ARGV[3] == '1' then
		redis.call('HDEL', KEYS[2], ARGV[1])
	else
		redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
	end
end
for i = 4, #ARGV, 3 do
	if ARGV[i + 2] == '2' then
		redis.call('HDEL', KEYS[1], ARGV[i])
	elseif ARGV[i + 2] == '1' then
		redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
	else
		redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1])
	end
end
return 1
