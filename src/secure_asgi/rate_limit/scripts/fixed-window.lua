-- Fixed window: stored is "begin spent". A window begins with the first charge after the last one has ended.

local function save(state)
  redis.call('SET', state.key, string.format('%.0f %.0f', state.begin, state.spent), 'PX', state.ttl)
end

local function look(index)
  local state = bucket(index)
  local begin, spent = string.match(text_at(state.key) or '', '^(%d+) (%d+)$')
  begin, spent = whole(begin), tonumber(spent)
  if not begin or spent > 2 * state.amount or state.moment >= begin + state.window then
    begin, spent = state.moment, 0
  end
  state.begin, state.spent = begin, spent
  if begin > state.moment then
    -- The clock went back. What was spent counts for one window from now; kept at once, or a key that is refused
    -- would begin anew at every request.
    state.begin = state.moment
    save(state)
  end
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
  return free, state.begin + state.window - state.moment
end
