-- include common room_common
-- ARGV client, how many messages it takes at most, for how long it stays.
-- Answers its messages, and room|client of each of its rooms.
sweep()
local client, most = ARGV[1], tonumber(ARGV[2])
if not is_there(client) then
	return { {}, {} }
end
local messages = {}
if most > 0 then
	messages = redis.call('LRANGE', queue_of(client), 0, most - 1)
	redis.call('LTRIM', queue_of(client), most, -1)
end
prolong(client, ARGV[3])
return { messages, redis.call('SMEMBERS', owned_by('web:' .. client)) }
