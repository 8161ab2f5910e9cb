-- Bans, in the last two keys: "count end" of the refusals, and "end length" of the last ban, which stays for as long as
-- the next one is to be longer.

local strikes_key, ban_key = KEYS[#KEYS - 1], KEYS[#KEYS]

local function last_ban()
  local over, length = string.match(text_at(ban_key), '^(%d+) (%d+)$')
  return whole(over), tonumber(length)
end

local function save_ban(over, length, longest)
  redis.call('SET', ban_key, string.format('%d %d', over, length),
    'PX', math.ceil((over - now + longest) / 1000))
end

-- Microseconds that the ban lasts still; 0 for none. One that would last longer than it may was set before the clock went
-- back, or before "longest" was made shorter: it begins anew, once.
-- Who only looks gives no longest, and changes nothing.
local function ban_left(longest)
  local over, length = last_ban()
  if not over or over <= now then return 0 end
  length = math.min(length, longest or length)
  if over - now > length then
    over = now + length
    if longest then save_ban(over, length, longest) end
  end
  return over - now
end

-- Count some refusals; microseconds of the ban that begins with them, or nil. They are counted for "per" from the first
-- on. A count that ends further ahead was begun before the clock went back: how long ago nobody knows.
local function strike(count, after, per, first, longest)
  local counted, ends = string.match(text_at(strikes_key), '^(%d+) (%d+)$')
  counted, ends = whole(counted), whole(ends)
  if not counted or not ends or ends <= now or ends > now + per then
    counted, ends = 0, now + per
  end
  counted = counted + count
  if counted < after then
    redis.call('SET', strikes_key, string.format('%d %d', counted, ends), 'PX', math.ceil((ends - now) / 1000))
    return nil
  end
  redis.call('DEL', strikes_key)
  local over, length = last_ban()
  if over and now < over + longest then
    length = math.min(2 * length, longest)
  else
    length = first
  end
  save_ban(now + length, length, longest)
  return length
end
