-- include common room_common
-- ARGV client, message, how many it may have, for how long they wait.
sweep()
prolong(ARGV[1], ARGV[4])
push(ARGV[1], ARGV[2], ARGV[3])
return 1
