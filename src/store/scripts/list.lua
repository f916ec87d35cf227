-- include common
-- KEYS data, meta, errors, done, done_at, delayed, processing, dead, progress,
-- then lists. ARGV what (an id, or a state), offset, limit, id or owner. Answers now, then
-- id, record, envelope, error, completion, time and progress of each.
local now = clock()
local what, offset, limit = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local ids = {}

local function range(key)
	ids = redis.call('ZRANGE', key, offset, offset + limit - 1)
end

if what == 'id' then
	ids = { ARGV[4] }
elseif what == 'queued' then
	for i = 10, #KEYS do
		local length = redis.call('LLEN', KEYS[i])
		if offset < length and #ids < limit then
			for _, id in ipairs(redis.call('LRANGE', KEYS[i], offset,
					offset + limit - #ids - 1)) do
				ids[#ids + 1] = id
			end
		end
		offset = math.max(0, offset - length)
	end
elseif what == 'delayed' then
	range(KEYS[6])
elseif what == 'active' and ARGV[4] ~= '' then
	for _, id in ipairs(redis.call('ZRANGE', KEYS[7], 0, 9999)) do
		local task = parse(redis.call('HGET', KEYS[2], id))
		if task and task.owner == ARGV[4] then
			if offset > 0 then
				offset = offset - 1
			elseif #ids < limit then
				ids[#ids + 1] = id
			end
		end
	end
elseif what == 'active' then
	range(KEYS[7])
elseif what == 'dead' then
	range(KEYS[8])
else
	range(KEYS[5])
end

local answer = { now }
for _, id in ipairs(ids) do
	local record = redis.call('HGET', KEYS[2], id)
	local task = parse(record)
	local completion = false
	local time = false
	if what == 'done' or not record then
		completion = redis.call('HGET', KEYS[4], id)
		time = redis.call('ZSCORE', KEYS[5], id)
	elseif task then
		local set = task.state == 'q' and KEYS[6] or
			task.state == 'd' and KEYS[8] or KEYS[7]
		time = redis.call('ZSCORE', set, id)
	end
	if record or completion then
		answer[#answer + 1] = id
		answer[#answer + 1] = record or ''
		answer[#answer + 1] = redis.call('HGET', KEYS[1], id) or ''
		answer[#answer + 1] = redis.call('HGET', KEYS[3], id) or ''
		answer[#answer + 1] = completion or ''
		answer[#answer + 1] = time or ''
		answer[#answer + 1] = redis.call('HGET', KEYS[9], id) or ''
	end
end
return answer
