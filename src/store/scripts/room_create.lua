-- include common room_common
-- ARGV room. Answers whether it is new, and its number.
sweep()
local number = number_of(ARGV[1])
if number then
	return { 0, number }
end
return { 1, create(ARGV[1]) }
