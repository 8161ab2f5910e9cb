"""What Redis does on behalf of ``Revocations``: each script is one step that nothing comes between.

Four keys. ``log``: entries by the order in which they were written; ``ends``: the same by when they end; ``values``:
the time each entry is about, and its end; ``last``: the number of the last write, and that of the first since the list
was begun. Numbers are microseconds of Redis's clock, so that a Redis that has lost everything does not give
them out again. What has ended goes by that clock too.
"""

_BEGIN = """
local log, ends, values, last = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local size = redis.call('ZCARD', log)
if size ~= redis.call('ZCARD', ends) or size ~= redis.call('HLEN', values)
    or (size > 0 and redis.call('EXISTS', last) == 0) then
  -- Part of it was evicted. Workers see that it is gone and write what they know.
  redis.call('DEL', log, ends, values, last)
end
local number, born = 0, ''
local state = redis.call('GET', last)
if state then
  number, born = string.match(state, '^(%d+) (%d+)$')
end
local time = redis.call('TIME')
local due = redis.call('ZRANGEBYSCORE', ends, '-inf', time[1], 'LIMIT', 0, 1000)
if #due > 0 then
  redis.call('ZREM', log, unpack(due))
  redis.call('ZREM', ends, unpack(due))
  redis.call('HDEL', values, unpack(due))
end
"""

READ = (
    _BEGIN
    + """
local rows = redis.call('ZRANGEBYSCORE', log, '(' .. ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[2])
local info = redis.pcall('INFO', 'server')
local server = type(info) == 'string' and string.match(info, 'run_id:(%x+)') or ''
local newest = string.format('%.0f', number)
local answer = {server .. '/' .. born, newest, newest}
if #rows > 0 then
  local ids = {}
  for i = 1, #rows, 2 do
    ids[#ids + 1] = rows[i]
  end
  local held = redis.call('HMGET', values, unpack(ids))
  for i = 1, #ids do
    answer[#answer + 1] = ids[i]
    answer[#answer + 1] = held[i]
  end
  answer[3] = rows[#rows]
end
return answer
"""
)
"""ARGV: read after this number, at most so many. Answers which server and list it is, its last number, that of the last
entry given here, then entries and their values by turns."""

ADD = (
    _BEGIN
    + """
number = math.max(tonumber(number), time[1] * 1000000 + time[2])
local room = tonumber(ARGV[1]) - redis.call('ZCARD', log)
local refused = 0
for i = 2, #ARGV, 3 do
  local id, value, ending = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local known = redis.call('HGET', values, id)
  if not known and room <= 0 then
    refused = refused + 1
  elseif not known or tonumber(string.match(known, '^%S+')) < tonumber(value) then
    if not known then
      room = room - 1
    end
    number = number + 1
    local written = string.format('%.0f', number)
    redis.call('ZADD', log, written, id)
    redis.call('ZADD', ends, ending, id)
    redis.call('HSET', values, id, value .. ' ' .. ending)
    if born == '' then
      born = written
    end
    redis.call('SET', last, written .. ' ' .. born)
  end
end
return refused
"""
)
"""ARGV: the capacity, then entry, value and end by turns. Answers how many found no room. An entry that is there only
ever moves on in time."""
