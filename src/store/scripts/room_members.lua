-- include common room_common
-- ARGV room. Answers whether there is one, then id and record of its members.
sweep()
return { redis.call('HEXISTS', KEYS[1], ARGV[1]),
	redis.call('HGETALL', members_of(ARGV[1])) }
