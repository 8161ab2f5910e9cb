-- What was charged at ARGV[3] as ARGV[4] units has cost ARGV[2] units more (or fewer: below 0). ARGV[5]: for GCRA, two
-- doubles a bucket, which reading gave after the charge. More is charged without asking.

local units, at, reserved = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
for index = 1, buckets do
  local state = look(index)
  if units > 0 then
    charge(state, units)
  elseif at <= now then
    -- A charge from the future was made before the clock went back: what has become of it nobody knows.
    if ARGV[5] then
      give_back(state, -units, at, struct.unpack('>dd', ARGV[5], index * 16 - 15))
    else
      give_back(state, -units, at, reserved)
    end
  end
end
return 1
