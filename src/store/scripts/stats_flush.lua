-- KEYS stats, sequences. ARGV source, sequence, then name, value and whether it
-- is a gauge of each.
local last = redis.call('HGET', KEYS[2], ARGV[1])
if last and tonumber(last) >= tonumber(ARGV[2]) then
	return 0
end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
for i = 3, #ARGV, 3 do
	if ARGV[i + 2] == '1' then
		redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
	else
		redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1])
	end
end
return 1
