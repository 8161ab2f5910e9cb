-- What every script begins with. Each strategy adds look, fits, charge, give_back and reading; then comes what is asked.
--
-- All numbers are whole and below 2^53: Lua counts in doubles, which are exact up to there. A bucket's time runs in
-- ticks (microseconds, or coarser ones where amount * window would be too large), and the caller has seen to it that
-- amount * window < 2^52.
--
-- What is stored and cannot be read (another type, no numbers, numbers out of range) counts as absent and is written
-- over. Nobody else writes here: an error instead would lock the key out for as long as the value stays, and a pass
-- would let it through for as long. So it is one fresh window, once.

-- This server's clock and nobody else's: those who ask may disagree about the time.
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]

-- ARGV[1] holds five doubles a bucket, packed: one argument is read faster than five numbers for each.
local buckets = #ARGV[1] / 40

local function bucket(index)
  local amount, window, burst, tick, ttl = struct.unpack('>ddddd', ARGV[1], index * 40 - 39)
  return {
    amount = amount, window = window, burst = burst, tick = tick, ttl = ttl,
    moment = math.floor(now / tick), key = KEYS[index],
  }
end

-- The stored text under a key; nil for none and for another type.
local function text_at(key)
  local value = redis.pcall('GET', key)
  return type(value) == 'string' and value or nil
end

-- Digits as a number; nil for none, and for more than is exact.
local function whole(digits)
  local number = tonumber(digits)
  return number and number < 2^53 and number or nil
end

-- What one more request of this cost would need.
local function one_more(free, cost)
  return (math.floor(free / cost) + 1) * cost
end

-- An answer of whole numbers, as one line: a client reads that many times faster than a list of them.
local function line(numbers)
  return {ok = string.format(string.rep('%.0f ', #numbers - 1) .. '%.0f', unpack(numbers))}
end

-- Ticks as microseconds from now: now is somewhere within its tick.
local function microseconds(state, ticks)
  return ticks * state.tick - now % state.tick
end
