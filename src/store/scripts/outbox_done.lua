-- KEYS outbox, outbox_at. ARGV id: all of its effects have been made.
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
return 1
