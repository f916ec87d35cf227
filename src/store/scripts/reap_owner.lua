-- include common lease_common
-- KEYS data, meta, processing, delayed, dead, uniq, errors, ctl, wake, progress,
-- events, owned. ARGV owner, where among all leases to go on (-1: begin with
-- what he claimed, -2: go on with that), how many to look at, dead ones to keep,
-- for how long. Answers how many there were, and where to go on; -3: that was
-- all.
local k = { data = KEYS[1], meta = KEYS[2], processing = KEYS[3],
	delayed = KEYS[4], dead = KEYS[5], uniq = KEYS[6], errors = KEYS[7],
	ctl = KEYS[8], progress = KEYS[10], events = KEYS[11],
	keep = tonumber(ARGV[4]), age = tonumber(ARGV[5]) }
local now = clock()
never_refused(KEYS[3])
local first, bound = tonumber(ARGV[2]), tonumber(ARGV[3])
local owned = KEYS[12]
local ids
-- What he claimed a day ago and since is in a list; else all leases are looked
-- at.
if first == -1 and redis.call('EXISTS', owned) == 0 then
	first = 0
end
if first < 0 then
	ids = {}
	while #ids < bound do
		local entry = redis.call('LPOP', owned)
		if not entry then
			break
		end
		for id in string.gmatch(entry, '[^|]+') do
			ids[#ids + 1] = id
		end
	end
else
	ids = redis.call('ZRANGE', k.processing, first, first + bound - 1)
end
local found = fetch(k.meta, ids)
local mark = '|' .. ARGV[1] .. '|'
local count = 0
local seen = {}
for i, id in ipairs(ids) do
	-- For those that are not his, no more is done than this.
	local task = found[i] and string.find(found[i], mark, 1, true) and
		not seen[id] and parse(found[i])
	if task and (task.state == 'a' or task.state == 'x') and
			task.owner == ARGV[1] then
		count = count + 1
		seen[id] = true
		hand_back(k, task, id, now, 'reaped')
	end
end
finish_hand_back(k)
if count > 0 then
	wake(KEYS[9])
end
if #ids < bound then
	return { count, -3 }
end
return { count, first < 0 and -2 or first + #ids - count }
