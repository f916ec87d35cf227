-- include common peer_gone
-- KEYS peers, pings, nonces, gone. ARGV id, nonce, record, whether it joins,
-- after how long others are dead. Answers whether it is done, then id, nonce,
-- record and silence of each that was dead.
local now = clock()
local id, nonce, dead = ARGV[1], ARGV[2], tonumber(ARGV[5])
local holder = redis.call('HGET', KEYS[3], id)
local pinged = tonumber(redis.call('HGET', KEYS[2], id) or 0)
local is_own = holder == nonce
local is_joining = ARGV[4] == '1'
if not is_own and (not is_joining or
		(holder and (dead == 0 or now - pinged <= dead))) then
	return { 0 }
end
local answer = { 1 }
if is_own then
	redis.call('HSET', KEYS[2], id, now)
end
if dead > 0 then
	local pings = redis.call('HGETALL', KEYS[2])
	for i = 1, #pings, 2 do
		local other, time = pings[i], tonumber(pings[i + 1]) or 0
		if now - time > dead and #answer < 256 then
			local its = redis.call('HGET', KEYS[3], other) or ''
			answer[#answer + 1] = other
			answer[#answer + 1] = its
			answer[#answer + 1] = redis.call('HGET', KEYS[1], other) or ''
			answer[#answer + 1] = now - time
			redis.call('HDEL', KEYS[1], other)
			redis.call('HDEL', KEYS[2], other)
			redis.call('HDEL', KEYS[3], other)
			note_gone(KEYS[4], now, other, its, false)
		end
	end
end
if ARGV[3] ~= '' or not is_own then
	redis.call('HSET', KEYS[1], id, ARGV[3])
end
redis.call('HSET', KEYS[2], id, now)
redis.call('HSET', KEYS[3], id, nonce)
return answer
