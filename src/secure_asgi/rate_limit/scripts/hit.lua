-- Charge ARGV[2] units to every bucket, or to none. ARGV[3], where bans are kept and bans.lua comes before this: four
-- doubles (after; per, first and longest in microseconds), and ARGV[4] refusals that the caller has answered by itself
-- since it last asked.
--
-- Answers 1 or 0, now, and for each bucket what reading says; or 2, microseconds, and whether the ban begins now.

local cost = tonumber(ARGV[2])
local after, per, first, longest
if ARGV[3] then
  after, per, first, longest = struct.unpack('>dddd', ARGV[3])
  local left = ban_left(longest)
  if left > 0 then return {ok = string.format('2 %d 0', left)} end
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
  if length then return {ok = string.format('2 %d 1', length)} end
end

local answer = string.format('%d %d', admitted, now)
for index = 1, buckets do
  local state = states[index]
  if admitted == 1 then charge(state, cost) end
  answer = answer .. said(reading(state, cost))
  if receipt then answer = answer .. receipt(state) end
end
return {ok = answer}
