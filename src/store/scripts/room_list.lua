-- include common room_common
-- ARGV the only room that is asked for; empty: all. Answers name, time of birth
-- and number of members of each.
sweep()
local answer = {}
local function add(room, record)
	answer[#answer + 1] = room
	answer[#answer + 1] =
		tonumber(string.match(record, '"createdAt":(%d+)') or 0)
	answer[#answer + 1] = redis.call('HLEN', members_of(room))
end
if ARGV[1] ~= '' then
	local record = redis.call('HGET', KEYS[1], ARGV[1])
	if record then
		add(ARGV[1], record)
	end
	return answer
end
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
	add(all[i], all[i + 1])
end
return answer
