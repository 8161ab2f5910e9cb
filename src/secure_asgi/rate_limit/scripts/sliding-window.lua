-- Sliding window counter: previous * (1 - f) + current. Stored are begin, current and previous, where begin is that
-- of the current window, on a grid of the key's own.

local function save(state)
  redis.call('SET', state.key, struct.pack('>ddd', state.begin, state.current, state.previous), 'PX', state.ttl)
end

local function look(index)
  local amount, window, _, tick, ttl = bucket(index)
  local key, moment = KEYS[index], math.floor(now / tick)
  local begin, current, previous = numbers_at(key, '>ddd', 24)
  if not begin or not (is_within(begin, 2^53) and is_within(current, 2 * amount) and is_within(previous, 2 * amount))
    or moment >= begin + 2 * window then
    begin, current, previous = moment, 0, 0
  elseif moment >= begin + window then
    begin, current, previous = begin + window, 0, current
  end
  local is_ahead = begin > moment
  if is_ahead then begin = moment end
  local state = {
    key = key, amount = amount, window = window, tick = tick, ttl = ttl,
    begin = begin, current = current, previous = previous, left = begin + window - moment,
  }
  -- The clock went back: both windows count from now on; kept at once, so that their time runs for who is refused.
  if is_ahead then save(state) end
  return state
end

local function fits(state, cost)
  local spare = state.amount - cost - state.current
  return spare >= state.previous or spare * state.window >= state.previous * state.left
end

-- A debt weighs on the next window, and is gone after it.
local function charge(state, cost)
  state.current = math.min(state.current + cost, 2 * state.amount)
  save(state)
end

local function give_back(state, units, at)
  local moment = math.floor(at / state.tick)
  if moment >= state.begin then
    state.current = math.max(0, state.current - units)
    save(state)
  elseif moment >= state.begin - state.window then
    state.previous = math.max(0, state.previous - units)
    save(state)
  end
end

local function reading(state, cost)
  local amount, window, left = state.amount, state.window, state.left
  local current, previous = state.current, state.previous
  local free = math.max(0, amount - current - math.ceil(previous * left / window))
  local more = one_more(free, cost)
  if more > amount then return free, 0 end
  local spare = amount - more
  if current <= spare then
    -- Within this window, as the share of the one before shrinks.
    return free, microseconds(state, left - math.floor((spare - current) * window / previous))
  end
  -- In the next one, where what is current now is what shrinks.
  return free, microseconds(state, left + window - math.floor(spare * window / current))
end
