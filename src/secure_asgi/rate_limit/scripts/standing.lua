-- How a key stands with its buckets for requests of one unit, and how long it is banned; nothing is charged.
-- Answers microseconds, and for each bucket free and wait.

local answer = {ban_left()}
for index = 1, buckets do
  local free, wait = reading(look(index), 1)
  answer[2 * index], answer[2 * index + 1] = free, wait
end
return line(answer)
