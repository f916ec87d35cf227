-- include common room_common
-- ARGV room, member, owner, record, number that it was told before (0: none),
-- for how long a web client stays. Answers 1 done, 0 there is no
-- such room, 2 it is a member; and the room's number.
sweep()
local room, id, owner = ARGV[1], ARGV[2], ARGV[3]
local number = number_of(room)
if not number then
	-- Where it was not destroyed, the store has lost it.
	if ARGV[5] == '0' or redis.call('ZSCORE', gone, room) then
		return { 0, '0' }
	end
	number = create(room)
end
local client = client_of(owner)
if client then
	prolong(client, ARGV[6])
end
local before = owner_of(redis.call('HGET', members_of(room), id))
if before == owner and ARGV[5] == '0' then
	return { 2, number }
end
if before then
	remove_member(room, id, before)
end
redis.call('HSET', members_of(room), id,
	'{"owner":"' .. owner .. '",' .. string.sub(ARGV[4], 2))
redis.call('SADD', owned_by(owner), room .. '|' .. id)
if client then
	redis.call('SADD', web_of(room), client)
end
return { 1, number }
