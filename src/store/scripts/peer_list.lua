-- include common
-- KEYS peers, pings, nonces, gone. Answers 1, a list of id, nonce, record and
-- silence of each, and one of nonce and how it went of those that are gone.
local now = clock()
local answer = {}
local pings = redis.call('HGETALL', KEYS[2])
for i = 1, #pings, 2 do
	local id = pings[i]
	answer[#answer + 1] = id
	answer[#answer + 1] = redis.call('HGET', KEYS[3], id) or ''
	answer[#answer + 1] = redis.call('HGET', KEYS[1], id) or ''
	answer[#answer + 1] = math.max(0, now - (tonumber(pings[i + 1]) or 0))
end
return { 1, answer, redis.call('HGETALL', KEYS[4]) }
