-- include common peer_gone
-- KEYS peers, pings, nonces, gone. ARGV id, nonce, whether it leaves by itself.
if redis.call('HGET', KEYS[3], ARGV[1]) ~= ARGV[2] then
	return 0
end
for i = 1, 3 do
	redis.call('HDEL', KEYS[i], ARGV[1])
end
note_gone(KEYS[4], clock(), ARGV[1], ARGV[2], ARGV[3] == '1')
return 1
