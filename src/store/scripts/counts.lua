-- include common
-- KEYS delayed, processing, dead, done, ctl, queues, then lists. ARGV name and
-- how many lists of each queue. Answers five totals and what is damaged, all
-- queues' names, then of each that was asked about: length, running, depth, most, rate,
-- whether it is paused.
local now = clock()
local due = redis.call('ZCOUNT', KEYS[1], '-inf', now)
local answer = { due, redis.call('ZCARD', KEYS[1]) - due,
	redis.call('ZCARD', KEYS[2]), redis.call('ZCARD', KEYS[3]),
	redis.call('HLEN', KEYS[4]),
	tonumber(redis.call('HGET', KEYS[5], 'orphans') or 0),
	redis.call('SMEMBERS', KEYS[6]) }
local key = 7
for i = 1, #ARGV, 2 do
	local length = 0
	for _ = 1, tonumber(ARGV[i + 1]) do
		length = length + redis.call('LLEN', KEYS[key])
		key = key + 1
	end
	local name = ARGV[i]
	local control = redis.call('HMGET', KEYS[5], 'r:' .. name,
		'd:' .. name, 'm:' .. name, 's:' .. name, 'p:' .. name)
	answer[#answer + 1] = length
	for j = 1, 5 do
		answer[#answer + 1] = tonumber(control[j] or 0)
	end
end
return answer
