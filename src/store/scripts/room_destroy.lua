-- include common room_common
-- ARGV room, what its web clients are told, how many messages one may have.
-- Answers whether it was there, and its number.
sweep()
local room = ARGV[1]
local number = number_of(room)
if not number then
	return { 0, '0' }
end
tell_clients(room, ARGV[2], ARGV[3], nil)
local all = redis.call('HGETALL', members_of(room))
for i = 1, #all, 2 do
	local owner = owner_of(all[i + 1])
	if owner then
		redis.call('SREM', owned_by(owner), room .. '|' .. all[i])
	end
end
redis.call('DEL', members_of(room), web_of(room))
redis.call('HDEL', KEYS[1], room)
-- For ten minutes it is known that it was destroyed, and not lost.
redis.call('ZREMRANGEBYSCORE', gone, '-inf', now - 600000)
redis.call('ZADD', gone, now, room)
return { 1, number }
