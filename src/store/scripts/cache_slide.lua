-- include common
-- KEYS entry. ARGV ms. Answers what HMGET would, prolonged.
local now = clock()
local answer = redis.call('HMGET', KEYS[1], 'v', 't', 'c', 'x', 'r')
if answer[1] then
	answer[4] = string.format('%.0f', now + ARGV[1])
	redis.call('HSET', KEYS[1], 'x', answer[4])
	redis.call('PEXPIREAT', KEYS[1], answer[4])
end
return answer
