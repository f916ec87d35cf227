-- What the scripts about rooms share. KEYS[1] is PREFIX:_rooms, and all their
-- other keys are made from it: which clients a room has is known here alone. On
-- a Cluster they have one slot, that of the braces around the prefix.
local now, now_us = clock()
local base = string.sub(KEYS[1], 1, -7)
local clients = base .. '_webClients'
local gone = base .. '_roomsGone'

local function key(what, name)
	return base .. what .. string.gsub(name, '[%%{}%c]', function(byte)
		return string.format('%%%02X', string.byte(byte))
	end)
end

local function members_of(room)
	return key('roomMembers-', room)
end

local function web_of(room)
	return key('_roomWeb-', room)
end

local function owned_by(owner)
	return key('_roomsOf:', owner)
end

local function queue_of(client)
	return key('webMessages:', client)
end

-- The client that an owner web:CLIENT is; nil: it is a server.
local function client_of(owner)
	return string.match(owner, '^web:(.+)$')
end

-- A member is kept as its record, an object, with its owner in front.
local function owner_of(member)
	return member and string.match(member, '^{"owner":"([^"]*)"')
end

-- Only where it is this owner's: another one may have it by now.
local function remove_member(room, id, owner)
	redis.call('SREM', owned_by(owner), room .. '|' .. id)
	local member = redis.call('HGET', members_of(room), id)
	if not member or owner_of(member) ~= owner then
		return 0
	end
	redis.call('HDEL', members_of(room), id)
	if client_of(owner) then
		redis.call('SREM', web_of(room), client_of(owner))
	end
	return 1
end

local function remove_owner(owner)
	local removed = 0
	for _, entry in ipairs(redis.call('SMEMBERS', owned_by(owner))) do
		local room, id = string.match(entry, '^([^|]*)|(.*)$')
		if room then
			removed = removed + remove_member(room, id, owner)
		end
	end
	redis.call('DEL', owned_by(owner))
	return removed
end

local function forget_client(client)
	remove_owner('web:' .. client)
	redis.call('DEL', queue_of(client))
	redis.call('ZREM', clients, client)
end

-- Clients that were not heard of for too long, some at a time.
local function sweep()
	local late = redis.call('ZRANGEBYSCORE', clients, '-inf', now,
		'LIMIT', 0, 32)
	for _, client in ipairs(late) do
		forget_client(client)
	end
end

local function is_there(client)
	return (tonumber(redis.call('ZSCORE', clients, client) or 0)) > now
end

local function prolong(client, ms)
	local at = now + tonumber(ms)
	redis.call('ZADD', clients, at, client)
	redis.call('PEXPIREAT', queue_of(client), at)
end

local function push(client, message, most)
	redis.call('RPUSH', queue_of(client), message)
	redis.call('LTRIM', queue_of(client), -tonumber(most), -1)
	redis.call('PEXPIREAT', queue_of(client),
		redis.call('ZSCORE', clients, client))
end

-- A room's number is that of this one among all that are called so.
local function number_of(room)
	local record = redis.call('HGET', KEYS[1], room)
	return record and string.match(record, '"number":(%d+)')
end

local function create(room)
	local number = string.format('%.0f', now_us)
	redis.call('HSET', KEYS[1], room, string.format(
		'{"createdAt":%.0f,"number":%s}', now, number))
	redis.call('ZREM', gone, room)
	return number
end

local function tell_clients(room, message, most, but)
	local told = 0
	for _, client in ipairs(redis.call('SMEMBERS', web_of(room))) do
		if client ~= but and is_there(client) then
			push(client, message, most)
			told = told + 1
		end
	end
	return told
end
