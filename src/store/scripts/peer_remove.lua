-- KEYS peers, pings, nonces. ARGV id, nonce.
if redis.call('HGET', KEYS[3], ARGV[1]) ~= ARGV[2] then
	return 0
end
for i = 1, 3 do
	redis.call('HDEL', KEYS[i], ARGV[1])
end
return 1
