"""What Redis does for a store of tasks: one script for each call, so that each is one step.

    PREFIX t:ID      a task: a hash         b:ID   its body        r:ID   its result: a hash
           q:API     ids that may be begun, by priority and number
           suspects  those whose process was lost     trial  which of them a process has
           later     ids that were put back, by when they may be begun
           waiting   all that are queued, by when they came      running   by the end of their lease
           over      by when their result goes                   notices   by when to tell
           ids       by number      k:API:KEY   id      apis, number, totals

The clock is that of Redis, the same for all machines.  What is gone is a hash with nothing but that,
which Redis throws away by itself.
"""

from __future__ import annotations

PRELUDE = """
local P, A = KEYS[1], ARGV
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local retention = tonumber(A[1])

local function text(number) return string.format('%.6f', number) end
local function get(id, name) return redis.call('HGET', P .. 't:' .. id, name) end
local function number(id, name) return tonumber(get(id, name) or '0') end
local function set(id, ...) redis.call('HSET', P .. 't:' .. id, ...) end

local function count(id)
  local size = redis.call('STRLEN', P .. 'b:' .. id) + redis.call('HSTRLEN', P .. 'r:' .. id, 'data')
  redis.call('HINCRBY', P .. 'totals', 'bytes', size - number(id, 'size'))
  set(id, 'size', size)
end

local function leave(id)
  redis.call('ZREM', P .. 'q:' .. get(id, 'api'), id)
  for _, name in ipairs({'later', 'suspects', 'waiting', 'running', 'over'}) do
    redis.call('ZREM', P .. name, id)
  end
end

local function line_up(id)
  local losses = number(id, 'losses')
  if losses > 0 then
    redis.call('ZADD', P .. 'suspects', losses * 17592186044416 + number(id, 'number'), id)
    return
  end
  local score = number(id, 'priority') * 17592186044416 + number(id, 'number')
  redis.call('ZADD', P .. 'q:' .. get(id, 'api'), score, id)
end

local function queue(id, due)
  leave(id)
  set(id, 'status', 'queued', 'due', text(due))
  redis.call('HDEL', P .. 't:' .. id, 'started')
  redis.call('ZADD', P .. 'waiting', get(id, 'created'), id)
  if due <= now then line_up(id) else redis.call('ZADD', P .. 'later', text(due), id) end
end

local function finish(id, status, answered, code)
  leave(id)
  if status == 'succeeded' then redis.call('DEL', P .. 'b:' .. id) end
  local due = text(now + retention)
  set(id, 'status', status, 'due', due, 'finished', text(now), 'result_status', answered,
      'code', code, 'notice_tries', 0)
  redis.call('ZADD', P .. 'over', due, id)
  if get(id, 'webhook') then redis.call('ZADD', P .. 'notices', text(now), id) end
  count(id)
end

local function forget(id)
  leave(id)
  local key = get(id, 'key')
  if key then redis.call('DEL', P .. 'k:' .. get(id, 'api') .. ':' .. key) end
  redis.call('HINCRBY', P .. 'totals', 'bytes', -number(id, 'size'))
  redis.call('HINCRBY', P .. 'totals', 'tasks', -1)
  redis.call('ZREM', P .. 'notices', id)
  redis.call('ZREM', P .. 'ids', id)
  redis.call('DEL', P .. 'b:' .. id, P .. 'r:' .. id)
  local api = get(id, 'api')
  redis.call('DEL', P .. 't:' .. id)
  set(id, 'id', id, 'api', api, 'status', 'gone', 'created', text(now))
  redis.call('EXPIRE', P .. 't:' .. id, math.ceil(retention))
end

local function holds(id, run)
  return get(id, 'status') == 'running' and get(id, 'run') == run
end
"""

SUBMIT = """
local id, api, key, fingerprint = A[2], A[3], A[4], A[5]
local most_tasks, most_bytes, body = tonumber(A[6]), tonumber(A[7]), A[8]
local place = P .. 'k:' .. api .. ':' .. key
if key ~= '' then
  local known = redis.call('GET', place)
  if known then
    if get(known, 'fingerprint') ~= fingerprint then return {'reused', ''} end
    return {'known', known}
  end
end
local tasks = tonumber(redis.call('HGET', P .. 'totals', 'tasks') or '0')
local bytes = tonumber(redis.call('HGET', P .. 'totals', 'bytes') or '0')
if tasks >= most_tasks or (tasks > 0 and bytes + #body > most_bytes) then
  local first = redis.call('ZRANGE', P .. 'over', 0, 0, 'WITHSCORES')
  return {'full', text((tonumber(first[2]) or 0) - now)}
end
set(id, 'id', id, 'api', api, 'fingerprint', fingerprint, 'created', text(now),
    'number', redis.call('INCR', P .. 'number'), 'size', 0, unpack(A, 9))
if key ~= '' then
  set(id, 'key', key)
  redis.call('SET', place, id)
end
redis.call('SET', P .. 'b:' .. id, body)
redis.call('ZADD', P .. 'ids', number(id, 'number'), id)
redis.call('SADD', P .. 'apis', api)
redis.call('HINCRBY', P .. 'totals', 'tasks', 1)
count(id)
queue(id, now)
return {'new', id}
"""

CLAIM = """
local lease, most_losses = tonumber(A[2]), tonumber(A[3])
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'running', '-inf', text(now))) do
  set(id, 'losses', number(id, 'losses') + 1)
  if number(id, 'losses') >= most_losses then finish(id, 'failed', 0, A[4]) else queue(id, now) end
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'later', '-inf', text(now))) do
  redis.call('ZREM', P .. 'later', id)
  line_up(id)
end
local found, taken = {}, {}
local function claim(id, api)
  leave(id)
  redis.call('HINCRBY', P .. 't:' .. id, 'run', 1)
  redis.call('HINCRBY', P .. 't:' .. id, 'runs', 1)
  set(id, 'status', 'running', 'due', text(now + lease), 'started', text(now), 'owner', A[6])
  redis.call('ZADD', P .. 'running', text(now + lease), id)
  taken[api] = (taken[api] or 0) + 1
  table.insert(found, {id, api, get(id, 'run'), get(id, 'fields'), get(id, 'request_id'),
                       get(id, 'timeout_s'), redis.call('GET', P .. 'b:' .. id)})
end
local rooms = {}
for i = 7, #A, 2 do rooms[A[i]] = tonumber(A[i + 1]) end
local trial = redis.call('HGET', P .. 'trial', A[6])
if not (trial and get(trial, 'status') == 'running' and get(trial, 'owner') == A[6]) then
  redis.call('HDEL', P .. 'trial', A[6])
  for _, id in ipairs(redis.call('ZRANGE', P .. 'suspects', 0, 99)) do
    if rooms[get(id, 'api')] then
      claim(id, get(id, 'api'))
      redis.call('HSET', P .. 'trial', A[6], id)
      break
    end
  end
end
for i = 7, #A, 2 do
  local room = math.min(rooms[A[i]] - (taken[A[i]] or 0), tonumber(A[5]) - #found)
  local ids = room > 0 and redis.call('ZRANGE', P .. 'q:' .. A[i], 0, room - 1) or {}
  for _, id in ipairs(ids) do claim(id, A[i]) end
end
return found
"""

RENEW = """
local kept = {}
for i = 3, #A, 2 do
  if holds(A[i], A[i + 1]) then
    redis.call('ZADD', P .. 'running', text(now + tonumber(A[2])), A[i])
    table.insert(kept, (i - 3) / 2)
  end
end
return kept
"""

PUT_BACK = """
if holds(A[2], A[3]) then
  redis.call('HINCRBY', P .. 't:' .. A[2], 'runs', -1)
  queue(A[2], now + tonumber(A[4]))
end
"""

FINISH = """
local id = A[2]
if not holds(id, A[3]) then return 0 end
redis.call('DEL', P .. 'r:' .. id)
redis.call('HSET', P .. 'r:' .. id, 'type', A[7], 'headers', A[8], 'data', A[9])
finish(id, A[4], A[5], A[6])
return 1
"""

CANCEL = """
local status = get(A[2], 'status')
if status == 'queued' or status == 'running' then finish(A[2], 'cancelled', 0, '') end
"""

AGAIN = """
local id, status = A[2], get(A[2], 'status')
if status == 'failed' or status == 'cancelled' then
  redis.call('DEL', P .. 'r:' .. id)
  redis.call('ZREM', P .. 'notices', id)
  redis.call('HDEL', P .. 't:' .. id, 'finished')
  set(id, 'created', text(now), 'losses', 0, 'result_status', 0, 'code', '')
  count(id)
  queue(id, now)
end
"""

FORGET = """
if not get(A[2], 'status') then return 0 end
if get(A[2], 'status') ~= 'gone' then forget(A[2]) end
return 1
"""

SWEEP = """
local late = text(now - retention)
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'waiting', '-inf', late, 'LIMIT', 0, A[2])) do
  finish(id, 'failed', 0, A[3])
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'over', '-inf', text(now), 'LIMIT', 0, A[2])) do
  forget(id)
end
"""

NOTICES = """
local found = {}
local due = redis.call('ZRANGEBYSCORE', P .. 'notices', '-inf', text(now), 'LIMIT', 0, A[2])
for _, id in ipairs(due) do
  redis.call('ZADD', P .. 'notices', text(now + tonumber(A[3])), id)
  table.insert(found, {id, get(id, 'webhook'), redis.call('HINCRBY', P .. 't:' .. id, 'notice_tries', 1)})
end
return found
"""

TOLD = """
if number(A[2], 'notice_tries') == tonumber(A[3]) and redis.call('ZSCORE', P .. 'notices', A[2]) then
  if A[4] == '' then
    redis.call('ZREM', P .. 'notices', A[2])
  else
    redis.call('ZADD', P .. 'notices', text(now + tonumber(A[4])), A[2])
  end
end
"""
