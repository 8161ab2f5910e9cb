-- What every script begins with. Each strategy adds look, fits, charge, give_back and reading; then comes what is asked.
-- A state is one table, made whole: one that grows field by field costs as much as a command.
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

-- Amount, window in ticks, burst, tick, and the milliseconds that what is stored is kept.
local function bucket(index)
  return struct.unpack('>ddddd', ARGV[1], index * 40 - 39)
end

-- The stored text under a key; an empty one for none and for another type.
local function text_at(key)
  local value = redis.pcall('GET', key)
  return type(value) == 'string' and value or ''
end

-- The doubles stored under a key, as "format" says and in so many octets; none where it holds something else.
local function numbers_at(key, format, octets)
  local value = redis.pcall('GET', key)
  if type(value) == 'string' and #value == octets then return struct.unpack(format, value) end
end

-- False for what is no number, too.
local function is_within(number, most)
  return number >= 0 and number <= most
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

-- Ticks as microseconds from now: now is somewhere within its tick.
local function microseconds(state, ticks)
  return ticks * state.tick - now % state.tick
end

-- An answer is whole numbers in one line: a client reads that many times faster than a list of them.
local function said(free, wait)
  return string.format(' %d %d', free, wait)
end

-- What a strategy tells besides about a charge, if give_back needs it: text that begins with a space.
local receipt
