-- Bans, in the last two keys: the times of the latest refusals (a list), and "until length" of the last ban, which
-- stays for as long as the next one is to be longer.

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

-- Count some refusals; microseconds of the ban that begins with them, or nil. Of the times only the latest "after" are
-- kept: the oldest of them says whether so many lie within "per".
local function strike(count, after, per, first, longest)
  if type(redis.pcall('LLEN', strikes_key)) ~= 'number' then redis.call('DEL', strikes_key) end
  local time = string.format('%d', now)
  for _ = 1, math.min(count, after) do redis.call('RPUSH', strikes_key, time) end
  redis.call('LTRIM', strikes_key, -after, -1)
  redis.call('PEXPIRE', strikes_key, math.ceil(per / 1000) + 1000)
  local oldest = tonumber(string.match(redis.call('LINDEX', strikes_key, -after) or '', '^%d+$'))
  if not oldest or oldest <= now - per or oldest > now then return nil end
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
