-- include common room_common
-- ARGV room, member, owner.
sweep()
return remove_member(ARGV[1], ARGV[2], ARGV[3])
