-- include common
-- KEYS entry: has been read just now. One that has gone does not come back.
if redis.call('HEXISTS', KEYS[1], 'v') == 1 then
	redis.call('HSET', KEYS[1], 'r', (clock()))
end
return 1
