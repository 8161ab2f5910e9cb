-- How a key stands with its buckets for requests of one unit, and how long it is banned; nothing is charged.
-- Answers microseconds, and for each bucket free and wait.

local answer = string.format('%d', ban_left())
for index = 1, buckets do
  answer = answer .. said(reading(look(index), 1))
end
return {ok = answer}
