-- include common lease_common enqueue_common
-- KEYS data, meta, processing, delayed, dead, uniq, fence, ctl, errors, progress,
-- events, owned, then queues, then, on a Cluster, outbox and outbox_at. ARGV owner, want, lease, bound, which queue is
-- first, dead ones to keep, for how long, queues, each. Answers ms until
-- something may be due (-1: nothing is known), tasks due in queues that are not
-- declared here (flat: id, queue, priority), what somebody left in the outbox
-- (flat: id, what), and the tasks: id, token, attempt,
-- attempts at most, queue, envelope.
local data, meta, processing, delayed, uniq, fence, ctl, owned =
	KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[6], KEYS[7], KEYS[8], KEYS[12]
local owner, want, lease, bound, start = ARGV[1], tonumber(ARGV[2]),
	tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local k = { data = data, meta = meta, processing = processing,
	delayed = delayed, dead = KEYS[5], uniq = uniq, ctl = ctl,
	errors = KEYS[9], progress = KEYS[10], events = KEYS[11],
	keep = tonumber(ARGV[6]), age = tonumber(ARGV[7]) }
local count = tonumber(ARGV[8])
local queues, outbox = read_queues(13, 9, count)
local now, us = clock()
local lease_end = digits(now + lease)
local next_ms = -1
never_refused(processing)

local function sooner(wait)
	if next_ms < 0 or wait < next_ms then
		next_ms = wait
	end
end

-- Nobody could prolong a lease while the server was away: one more is given.
local fields = { 'clock', 'grace' }
for i = 1, count do
	local name = queues[i].name
	for _, field in ipairs({ 'p:', 'm:', 's:', 'r:', 't:', 'a:' }) do
		fields[#fields + 1] = field .. name
	end
end
local control = redis.call('HMGET', ctl, unpack(fields))
local last, grace = tonumber(control[1]), tonumber(control[2] or 0)
if last and now - last > lease / 2 then
	grace = now + lease
	redis.call('HSET', ctl, 'grace', grace, 'clock', now)
elseif not last or now - last > lease / 8 then
	redis.call('HSET', ctl, 'clock', now)
end
for i = 1, count do
	local queue, c = queues[i], 3 + (i - 1) * 6
	queue.is_paused = control[c] == '1'
	queue.most = tonumber(control[c + 1] or 0)
	queue.rate = tonumber(control[c + 2] or 0)
	queue.running = tonumber(control[c + 3] or 0)
	queue.used = tonumber(control[c + 4] or 0)
	-- Its server is back: it is not to be adopted.
	if control[c + 5] then
		redis.call('HDEL', ctl, 'a:' .. queue.name)
	end
end

local function orphan(set, id)
	redis.call('ZREM', set, id)
	redis.call('HINCRBY', ctl, 'orphans', 1)
	event(k.events, 'orphan', id, '', '')
end

-- Leases that ran out.
if now >= grace then
	local ids = redis.call('ZRANGEBYSCORE', processing, '-inf', now,
		'LIMIT', 0, bound)
	for _, id in ipairs(ids) do
		local task = parse(redis.call('HGET', meta, id))
		if not task or (task.state ~= 'a' and task.state ~= 'x') then
			orphan(processing, id)
		else
			if queues[task.queue] then
				queues[task.queue].running =
					queues[task.queue].running - 1
			end
			hand_back(k, task, id, now, 'expired')
		end
	end
	finish_hand_back(k)
end

-- What has become due. A score of 0 was handed back: to the front.
local strays = {}
local due = redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'WITHSCORES',
	'LIMIT', 0, bound)
for i = #due - 1, 1, -2 do
	local id = due[i]
	if due[i + 1] == '0' then
		local task = parse(redis.call('HGET', meta, id))
		if not task or task.state ~= 'q' then
			orphan(delayed, id)
		elseif queues[task.queue] then
			redis.call('ZREM', delayed, id)
			redis.call('LPUSH', list_of(queues[task.queue],
				task.priority), id)
		end
	end
end
for i = 1, #due, 2 do
	local id = due[i]
	local task = parse(redis.call('HGET', meta, id))
	if not task or task.state ~= 'q' then
		if due[i + 1] ~= '0' then
			orphan(delayed, id)
		end
	elseif not queues[task.queue] then
		-- Its list is not declared: the caller comes back for it. Out of
		-- the way meanwhile, so that it cannot block this sweep.
		redis.call('ZADD', delayed, now + 5000, id)
		strays[#strays + 1] = id
		strays[#strays + 1] = task.queue
		strays[#strays + 1] = task.priority
	elseif due[i + 1] ~= '0' then
		redis.call('ZREM', delayed, id)
		redis.call('RPUSH', list_of(queues[task.queue], task.priority), id)
	end
end

-- How many of a queue may start: see lmdb_queue_allowance for the rate.
local function allowance(queue)
	if queue.is_paused then
		return 0
	end
	local allowed = want
	if queue.most > 0 then
		allowed = math.min(allowed, queue.most - queue.running)
	end
	if queue.rate > 0 and allowed > 0 then
		queue.pace = math.max(1, math.floor(1000000 / queue.rate))
		queue.used = math.max(queue.used, us)
		local left = math.floor((us + 1000000 - queue.used) / queue.pace)
		if left < 1 then
			queue.wait = math.floor((queue.used + queue.pace - us -
				1000000) / 1000) + 1
		end
		allowed = math.min(allowed, left)
	end
	return math.max(allowed, 0)
end

-- What this owner has claimed stands in a list of its own, for reap_owner: the
-- ids of a claim are one entry. What is done is not taken out of it at once,
-- that would be a write for each completion: once there are many entries, the
-- two oldest are looked at with each claim.
local function own(taken)
	redis.call('RPUSH', owned, table.concat(taken, '|'))
	if redis.call('LLEN', owned) > 64 then
		local mark = '|' .. owner .. '|'
		for _, entry in ipairs(redis.call('LPOP', owned, 2)) do
			local old, kept = {}, {}
			for id in string.gmatch(entry, '[^|]+') do
				old[#old + 1] = id
			end
			local found = fetch(meta, old)
			for i, id in ipairs(old) do
				if found[i] and string.find(found[i], mark, 1, true) then
					kept[#kept + 1] = id
				end
			end
			if #kept > 0 then
				redis.call('RPUSH', owned, table.concat(kept, '|'))
			end
		end
	end
	redis.call('PEXPIRE', owned, 86400000)
end

-- Effects of completions whose worker died before it had made them.
local left = {}
if KEYS[outbox] then
	for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[outbox + 1], '-inf',
			now - 5000, 'LIMIT', 0, 8)) do
		local what = redis.call('HGET', KEYS[outbox], id)
		if what then
			redis.call('ZADD', KEYS[outbox + 1], now, id)
			left[#left + 1] = id
			left[#left + 1] = what
		else
			redis.call('ZREM', KEYS[outbox + 1], id)
		end
	end
end

local answer = { -1, strays, left }
local records, leases, started_ids = {}, {}, {}
local taken = 0
local token = tonumber(redis.call('GET', fence) or 0)

local function hand_out(queue, ids)
	local found = fetch(meta, ids)
	local envelopes = fetch(data, ids)
	local started = 0
	for i, id in ipairs(ids) do
		-- As parse() and format() do, without a table for each.
		local attempt, most, rest, unique = string.match(found[i] or '',
			'^q|%d+|(%d+)|(%d+)|(%d|[^|]*|)[^|]*|(.*)$')
		if attempt and not queue.seen[id] and envelopes[i] then
			queue.seen[id] = true
			token = math.max(token + 1, us)
			local text = digits(token)
			attempt = attempt == '0' and '1' or
				string.format('%d', attempt + 1)
			if string.sub(unique, 1, 1) == 's' then
				free_unique(uniq, { unique = unique }, id)
				unique = ''
			end
			local n = #records
			records[n + 1] = id
			records[n + 2] = 'a|' .. text .. '|' .. attempt .. '|' ..
				most .. '|' .. rest .. owner .. '|' .. unique
			leases[n + 1] = lease_end
			leases[n + 2] = id
			n = #answer
			answer[n + 1] = id
			answer[n + 2] = text
			answer[n + 3] = attempt
			answer[n + 4] = most
			answer[n + 5] = queue.name
			answer[n + 6] = envelopes[i]
			started_ids[#started_ids + 1] = id
			started = started + 1
		elseif found[i] and not parse(found[i]) then
			redis.call('HINCRBY', ctl, 'orphans', 1)
			event(k.events, 'orphan', id, '', '')
		end
	end
	return started
end

for i = 0, count - 1 do
	local queue = queues[(start + i) % count + 1]
	local allowed = allowance(queue)
	local started = 0
	queue.seen = {}
	for list = queue.first, queue.first + queue.lists - 1 do
		while started < allowed and taken < want do
			local ids = redis.call('LPOP', KEYS[list],
				math.min(allowed - started, want - taken))
			if not ids or #ids == 0 then
				break
			end
			local some = hand_out(queue, ids)
			started = started + some
			taken = taken + some
		end
	end
	if started > 0 then
		running(ctl, queue.name, started)
		if queue.rate > 0 then
			redis.call('HSET', ctl, 't:' .. queue.name,
				string.format('%.0f',
					queue.used + started * queue.pace))
		end
	end
	if queue.wait then
		sooner(queue.wait)
	end
	-- The next one to wait is woken only now: a chain, no stampede.
	if started < allowed or taken >= want then
		if allowed > started and length_of(queue) > 0 then
			wake(queue.wake)
		end
	end
end
if taken > 0 then
	redis.call('SET', fence, string.format('%.0f', token))
	many('HSET', meta, records)
	many('ZADD', processing, leases)
	own(started_ids)
end

local first = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
if first[2] then
	sooner(math.max(0, tonumber(first[2]) - now))
end
first = redis.call('ZRANGE', processing, 0, 0, 'WITHSCORES')
if first[2] then
	sooner(math.max(0, tonumber(first[2]) - now))
end
answer[1] = next_ms
return answer
