-- include common room_common
-- ARGV owner. Answers how many members it had.
sweep()
return remove_owner(ARGV[1])
