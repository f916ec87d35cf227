-- include common room_common
-- ARGV room, message, how many messages a client may have, a client that is not
-- told, a web client that speaks, for how long it stays. Answers -1: there is no
-- such room, -2: the speaker is not in it; or how many clients were told.
sweep()
local room, speaker = ARGV[1], ARGV[5]
if redis.call('HEXISTS', KEYS[1], room) == 0 then
	return -1
end
if speaker ~= '' then
	if redis.call('SISMEMBER', web_of(room), speaker) == 0 then
		return -2
	end
	prolong(speaker, ARGV[6])
end
return tell_clients(room, ARGV[2], ARGV[3], ARGV[4])
