-- KEYS log, its facts. ARGV the command, channel, message, entries, ms, bytes.
-- An entry is when it was put there, a space, and the message.
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
local entry = string.format('%.0f ', now_ms) .. ARGV[3]
local count = redis.call('RPUSH', KEYS[1], entry)
if count == 1 then
	redis.call('HSET', KEYS[2], 'bytes', 0)
end
local bytes = redis.call('HINCRBY', KEYS[2], 'bytes', #entry)
local oldest_ms = now_ms - ARGV[5]
local gone = 0
local gone_bytes = 0
while count - gone > 1 do
	local first = redis.call('LINDEX', KEYS[1], gone)
	if count - gone <= tonumber(ARGV[4]) and
	   bytes - gone_bytes <= tonumber(ARGV[6]) and
	   tonumber(string.match(first, '^%d+')) >= oldest_ms then
		break
	end
	gone = gone + 1
	gone_bytes = gone_bytes + #first
end
if gone > 0 then
	redis.call('LTRIM', KEYS[1], gone, -1)
	redis.call('HINCRBY', KEYS[2], 'bytes', -gone_bytes)
end
redis.call('HSET', KEYS[2], 'ms', ARGV[5])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
redis.call('PEXPIRE', KEYS[2], ARGV[5] + 1000)
return redis.call(ARGV[1], ARGV[2], ARGV[3])
