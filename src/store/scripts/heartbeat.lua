-- include common
-- KEYS meta, processing. ARGV lease, then id and token of each.
local now = clock()
never_refused(KEYS[2])
local lease_end = digits(now + ARGV[1])
local ids, leases, results = {}, {}, {}
for i = 2, #ARGV, 2 do
	ids[#ids + 1] = ARGV[i]
end
local found = fetch(KEYS[1], ids)
for i, id in ipairs(ids) do
	local task = parse(found[i])
	if task and (task.state == 'a' or task.state == 'x') and
			task.token == ARGV[1 + i * 2] then
		leases[#leases + 1] = lease_end
		leases[#leases + 1] = id
		results[i] = task.state == 'x' and 7 or 1
	else
		results[i] = 6
	end
end
many('ZADD', KEYS[2], leases)
return results
