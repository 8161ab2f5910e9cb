-- Generic cell rate algorithm, as a leaky bucket. Stored are time, backlog and returned.
--
-- The backlog is in ticks * amount: one unit adds one window, one tick drains one amount, and nothing is ever rounded,
-- so that 7 a minute is 7 and not 6. The time and the backlog are kept apart because their sum would pass 2^53.
-- "returned" is how many units were ever given back: see give_back.

local function save(state)
  redis.call('SET', state.key, struct.pack('>ddd', state.moment, state.backlog, state.returned), 'PX', state.ttl)
end

local function look(index)
  local amount, window, burst, tick, ttl = bucket(index)
  local key, moment = KEYS[index], math.floor(now / tick)
  local at, backlog, returned = numbers_at(key, '>ddd', 24)
  if not at or not (is_within(at, 2^53) and is_within(backlog, 2 * amount * window) and is_within(returned, 2^52)) then
    at, backlog, returned = moment, 0, 0
  end
  local passed = moment - at
  if passed >= 2 * window then
    backlog = 0
  elseif passed > 0 then
    backlog = math.max(0, backlog - passed * amount)
  end
  local state = {
    key = key, amount = amount, window = window, burst = burst, tick = tick, ttl = ttl,
    moment = moment, backlog = backlog, returned = returned,
  }
  -- The clock went back: nothing has drained, and all of it drains from now on, for who is refused as well.
  if passed < 0 then save(state) end
  return state
end

local function fits(state, cost)
  return state.backlog + cost * state.window <= state.burst * state.window
end

-- A debt is one window at most, beyond a full bucket.
local function charge(state, cost)
  state.backlog = math.min(state.backlog + cost * state.window, (state.burst + state.amount) * state.window)
  save(state)
end

-- What is given back must not have drained yet: time that went by over units which nobody used is lost. Of the backlog
-- right after the charge (charged) there is left what has not drained and was not given back meanwhile. First in,
-- first out: a charge drains last of those, so what is left is its own before it is anybody else's.
local function give_back(state, units, at, charged, returned)
  local passed = state.moment - math.floor(at / state.tick)
  local meanwhile = state.returned - returned
  if passed >= 2 * state.window or meanwhile < 0 or meanwhile >= 2 * state.amount then return end
  local rest = charged - passed * state.amount - meanwhile * state.window
  local back = math.min(units * state.window, rest, state.backlog)
  if back > 0 then
    state.backlog = state.backlog - back
    state.returned = state.returned + math.ceil(back / state.window)
    save(state)
  end
end

local function reading(state, cost)
  local window, burst, backlog = state.window, state.burst, state.backlog
  local free = math.max(0, math.floor((burst * window - backlog) / window))
  local more = one_more(free, cost)
  local wait = 0
  if more <= burst then
    wait = microseconds(state, math.ceil((backlog - (burst - more) * window) / state.amount))
  end
  return free, wait
end

receipt = function(state)
  return string.format(' %d %d', state.backlog, state.returned)
end
