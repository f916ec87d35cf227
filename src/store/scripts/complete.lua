-- include common enqueue_common effect_common
-- KEYS data, meta, processing, done, done_at, uniq, errors, ctl, wake,
-- delayed, queues, progress, events, then queues, then keys of the cache, or
-- outbox and outbox_at. ARGV keep how many, for how long, whether there is an
-- outbox, queues, each, tasks, then of each: id, token, result, effects; then of
-- each effect: kind and eight more.
local data, meta, processing, done, done_at, uniq, errors, ctl =
	KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local keys = { data = data, meta = meta, delayed = KEYS[10], done = done,
	uniq = uniq }
local now = clock()
never_refused(KEYS[3])
local now_text = digits(now)
local count = tonumber(ARGV[4])
local queues, _, at = read_queues(14, 5, count)
local tasks = tonumber(ARGV[at])
at = at + 1
if count > 0 then
	register(queues, count, KEYS[11])
end

local function run_effect(a, id)
	local kind = ARGV[a]
	if kind == 'q' then
		local queue = queues[tonumber(ARGV[a + 3]) + 1]
		queue.depth, queue.length = 0, 0
		add_task(keys, { id = ARGV[a + 1], envelope = ARGV[a + 2],
			queue = queue, priority = ARGV[a + 4],
			tail = ARGV[a + 5], delay = tonumber(ARGV[a + 6]),
			at = tonumber(ARGV[a + 7]), unique = ARGV[a + 8] }, now,
			false)
		return
	end
	if kind == 'o' then
		redis.call('HSET', KEYS[#KEYS - 1], id, ARGV[a + 1])
		redis.call('ZADD', KEYS[#KEYS], now, id)
		return
	end
	change_cache(KEYS[tonumber(ARGV[a + 1])], kind, ARGV[a + 2], ARGV[a + 3],
		tonumber(ARGV[a + 4]), now)
end

local ids, places = {}, {}
for i = 1, tasks do
	ids[i] = ARGV[at]
	places[i] = at
	at = at + 4 + tonumber(ARGV[at + 3]) * 9
end
local found = fetch(meta, ids)
local gone, records, times, results, freed, seen = {}, {}, {}, {}, {}, {}
local retried, done_before = {}, nil
for i, id in ipairs(ids) do
	local state, its, attempt, queue, unique = string.match(found[i] or '',
		'^([ax])|(%d+)|(%d+)|%d+|%d|([^|]*)|[^|]*|(.*)$')
	local token = ARGV[places[i] + 1]
	if its == token and not seen[id] then
		gone[#gone + 1] = id
		seen[id] = true
		freed[queue] = (freed[queue] or 0) + 1
		if unique ~= '' then
			free_unique(uniq, { unique = unique }, id)
		end
		if attempt ~= '1' then
			retried[#retried + 1] = id
		end
		if state == 'x' then
			results[i] = 7
		else
			results[i] = 1
			records[#records + 1] = id
			records[#records + 1] = token .. '|' .. attempt .. '|' ..
				ARGV[places[i] + 2]
			times[#times + 1] = now_text
			times[#times + 1] = id
		end
	else
		done_before = done_before or fetch(done, ids)
		local record = done_before[i] or ''
		local same = string.sub(record, 1, #token + 1) == token .. '|'
		results[i] = (same or seen[id]) and 2 or 6
		if results[i] == 6 then
			event(KEYS[13], 'stale', id, '', 'token=' .. token)
		end
	end
end
many('HDEL', data, gone)
many('HDEL', meta, gone)
many('HDEL', KEYS[12], gone)
many('ZREM', processing, gone)
many('HSET', done, records)
many('ZADD', done_at, times)
many('HDEL', errors, retried)
for queue, some in pairs(freed) do
	running(ctl, queue, -some)
	if redis.call('HEXISTS', ctl, 'm:' .. queue) == 1 then
		wake(KEYS[9])
	end
end
for i = 1, tasks do
	if results[i] == 1 then
		for j = 0, tonumber(ARGV[places[i] + 3]) - 1 do
			run_effect(places[i] + 4 + j * 9, ids[i])
		end
	end
end
for i = 1, count do
	if queues[i].is_new then
		wake(queues[i].wake)
	end
end

-- Some old ones go with each new one.
if #times > 0 then
	local over = redis.call('ZCARD', done_at) - tonumber(ARGV[1])
	local bound = #times + 8
	local old = {}
	if over > 0 then
		old = redis.call('ZRANGE', done_at, 0, math.min(over, bound) - 1)
	else
		old = redis.call('ZRANGEBYSCORE', done_at, '-inf',
			now - tonumber(ARGV[2]), 'LIMIT', 0, bound)
	end
	many('HDEL', done, old)
	many('ZREM', done_at, old)
end
-- Of what was recorded before: is it in the outbox still?
if ARGV[3] == '1' then
	local left = {}
	for i, id in ipairs(ids) do
		left[i] = results[i] == 2 and
			redis.call('HGET', KEYS[#KEYS - 1], id) or ''
	end
	results[#results + 1] = left
end
return results
