-- How a key stands with its buckets for requests of one unit, and how long it is banned; nothing is charged.
-- ARGV[2]: the longest ban in microseconds, 0 where there are none. Answers {microseconds, free, wait, ...}.

local longest = tonumber(ARGV[2])
local answer = {longest > 0 and ban_left(longest) or 0}
for index = 1, buckets do
  local free, wait = reading(look(index), 1)
  answer[2 * index], answer[2 * index + 1] = free, wait
end
return answer
