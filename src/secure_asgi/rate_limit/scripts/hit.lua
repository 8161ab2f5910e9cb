-- Charge ARGV[2] units to every bucket, or to none. ARGV[3], where bans are kept: four doubles (after; per, first and
-- longest in microseconds), and ARGV[4] refusals that the caller has answered by itself since it last asked.
--
-- Answers 1 or 0, now, and for each bucket what reading says; or 2, microseconds, and whether the ban begins now.

local cost = tonumber(ARGV[2])
local after, per, first, longest
if ARGV[3] then
  after, per, first, longest = struct.unpack('>dddd', ARGV[3])
  local left = ban_left(longest)
  if left > 0 then return line({2, left, 0}) end
end

local states, admitted = {}, 1
for index = 1, buckets do
  local state = look(index)
  states[index] = state
  if not fits(state, cost) then admitted = 0 end
end

if after then
  local refusals = ARGV[4] + 1 - admitted
  local length = refusals > 0 and strike(refusals, after, per, first, longest)
  if length then return line({2, length, 1}) end
end

local answer = {admitted, now}
local size = 2
for index = 1, buckets do
  local state = states[index]
  if admitted == 1 then charge(state, cost) end
  local free, wait, charged, returned = reading(state, cost)
  answer[size + 1], answer[size + 2] = free, wait
  size = size + 2
  if charged then
    answer[size + 1], answer[size + 2] = charged, returned
    size = size + 2
  end
end
return line(answer)
