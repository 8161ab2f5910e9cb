-- Moving window: a list of "time:cost", oldest first, and beside it a text with the sum of the costs, so that a charge
-- need not add them up. Each entry is pushed once and dropped once, whatever number of requests looks at the list.

-- Entries that are read at once where several are needed.
local BATCH = 100

local function parse(entry)
  local time, cost = string.match(entry, '^(%d+):(%d+)$')
  return whole(time), tonumber(cost)
end

local function forget(state)
  redis.call('DEL', state.key, state.sum)
  state.used, state.newest = 0, 0
end

local function save_sum(state)
  redis.call('SET', state.sum, string.format('%d', state.used), 'PX', state.ttl)
end

local function push(state, time, cost)
  redis.call('RPUSH', state.key, string.format('%d:%d', time, cost))
  redis.call('PEXPIRE', state.key, state.ttl)
  state.newest = time
  save_sum(state)
end

-- Drop from the front what has left the window. False where the list is no list of entries, or the sum not theirs.
local function drop_old(state)
  local gone = now - state.window
  local last = 0
  while true do
    local batch = redis.call('LRANGE', state.key, 0, last)
    local old = 0
    for _, entry in ipairs(batch) do
      local time, cost = parse(entry)
      if not time then return false end
      if time > gone then break end
      old = old + 1
      state.used = state.used - cost
    end
    if old > 0 then redis.call('LTRIM', state.key, old, -1) end
    if #batch == 0 then return state.used == 0 end
    if old < #batch then break end
    last = BATCH - 1
  end
  return state.used >= 0
end

local function look(index)
  local amount, window, _, _, ttl = bucket(index)
  local state = {
    key = KEYS[2 * index - 1], sum = KEYS[2 * index], amount = amount, window = window, ttl = ttl, used = 0, newest = 0,
  }
  local newest = redis.pcall('LINDEX', state.key, -1)
  if not newest then return state end
  local before = tonumber(string.match(text_at(state.sum), '^%d+$'))
  state.newest = type(newest) == 'string' and parse(newest)
  if not state.newest or not before or before > 2 * state.amount then
    forget(state)
    return state
  end
  state.used = before
  if not drop_old(state) then
    forget(state)
  elseif state.newest > now + state.window then
    -- The clock went back by more than a window: all of it counts as spent now, and is over in one window.
    local used = state.used
    redis.call('DEL', state.key)
    push(state, now, used)
  elseif state.used ~= before then
    save_sum(state)
  end
  return state
end

local function fits(state, cost)
  return state.used + cost <= state.amount
end

local function charge(state, cost)
  cost = math.min(cost, 2 * state.amount - state.used)
  if cost > 0 then
    state.used = state.used + cost
    -- Never older than the newest: the list stays in order.
    push(state, math.max(now, state.newest), cost)
  end
end

-- Charges of one microsecond and one cost are alike: any of them will do.
local function give_back(state, units, at, cost)
  local searched = string.format('%d:%d', at, cost)
  local last = -1
  while true do
    local batch = redis.call('LRANGE', state.key, last - BATCH + 1, last)
    for index = #batch, 1, -1 do
      if batch[index] == searched then
        local place = last - (#batch - index)
        if cost > units then
          redis.call('LSET', state.key, place, string.format('%d:%d', at, cost - units))
        else
          redis.call('LREM', state.key, -1, searched)
        end
        state.used = state.used - units
        save_sum(state)
        return
      end
      if not parse(batch[index]) or parse(batch[index]) < at then return end
    end
    if #batch < BATCH then return end
    last = last - BATCH
  end
end

-- When the oldest charges that make up the missing units have left: no more of them than units are missing.
local function reading(state, cost)
  local free = math.max(0, state.amount - state.used)
  local more = one_more(free, cost)
  if more > state.amount then return free, 0 end
  local missing = state.used + more - state.amount
  local first = 0
  while true do
    local batch = redis.call('LRANGE', state.key, first, first + math.min(missing, BATCH) - 1)
    if #batch == 0 then return free, 0 end
    for _, entry in ipairs(batch) do
      local time, spent = parse(entry)
      missing = missing - (spent or 0)
      if missing <= 0 then
        return free, math.min((time or now) - now, state.window) + state.window
      end
    end
    first = first + #batch
  end
end
