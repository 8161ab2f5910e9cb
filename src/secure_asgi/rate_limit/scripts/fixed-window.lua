-- Fixed window: stored are begin and spent. A window begins with the first charge after the last one has ended.

local function save(state)
  redis.call('SET', state.key, struct.pack('>dd', state.begin, state.spent), 'PX', state.ttl)
end

local function look(index)
  local amount, window, _, _, ttl = bucket(index)
  local key = KEYS[index]
  local begin, spent = numbers_at(key, '>dd', 16)
  if not begin or not (is_within(begin, 2^53) and is_within(spent, 2 * amount)) or now >= begin + window then
    begin, spent = now, 0
  end
  local is_ahead = begin > now
  if is_ahead then begin = now end
  local state = {key = key, amount = amount, window = window, ttl = ttl, begin = begin, spent = spent}
  -- The clock went back. What was spent counts for one window from now; kept at once, or a key that is refused would
  -- begin anew at every request.
  if is_ahead then save(state) end
  return state
end

local function fits(state, cost)
  return state.spent + cost <= state.amount
end

-- More than fits is a debt, which ends with the window: no more of it than keeps the numbers small.
local function charge(state, cost)
  state.spent = math.min(state.spent + cost, 2 * state.amount)
  save(state)
end

local function give_back(state, units, at)
  if at >= state.begin then
    state.spent = math.max(0, state.spent - units)
    save(state)
  end
end

local function reading(state, cost)
  local free = math.max(0, state.amount - state.spent)
  if one_more(free, cost) > state.amount then return free, 0 end
  return free, state.begin + state.window - now
end
