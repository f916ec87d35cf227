-- KEYS events. ARGV after, how many. Answers the last one's number, then number,
-- kind, id, owner and detail of each.
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local answer = { last and last[1] or '0-0' }
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], '+',
		'COUNT', ARGV[2])) do
	local fields = {}
	for i = 1, #entry[2], 2 do
		fields[entry[2][i]] = entry[2][i + 1]
	end
	local n = #answer
	answer[n + 1] = entry[1]
	answer[n + 2] = fields.kind or ''
	answer[n + 3] = fields.id or ''
	answer[n + 4] = fields.owner or ''
	answer[n + 5] = fields.detail or ''
end
return answer
