"""The scripts that Redis runs: each is one atomic step. KEYS[1] is a table's base, see layout.py."""

from __future__ import annotations

KEPT = 10_000  # changes that a table's stream keeps, about
SWEEP = 200  # expired records removed by one script

_COMMON = f"""
local base = KEYS[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function changed(kind, key)
  local version = string.format('%.0f', redis.call('INCR', base .. ':s'))
  redis.call('XADD', base .. ':w', 'MAXLEN', '~', {KEPT}, version .. '-0', 'o', kind, 'k', key)
  return version
end

local function remove(kind, key)
  redis.call('DEL', base .. ':r:' .. key)
  redis.call('ZREM', base .. ':i', key)
  redis.call('ZREM', base .. ':x', key)
  return changed(kind, key)
end

local function sweep()
  local due = redis.call('ZRANGE', base .. ':x', '-inf', now, 'BYSCORE', 'LIMIT', 0, {SWEEP})
  for _, key in ipairs(due) do remove('expire', key) end
  return #due
end
"""

# ARGV: of each batch how many operations it has, then of each its kind (put, delete), key, wanted version or '', value, metadata,
# milliseconds to live or ''. Gives of each batch {'ok', version, ...}, {'conflict', number of the operation, version found} having
# changed nothing, or {'error', what Redis said}.
APPLY = (
    _COMMON
    + """
sweep()
local function apply(first, last)
  local found = {}
  for i = first, last, 6 do
    local version = redis.call('HGET', base .. ':r:' .. ARGV[i + 1], 'n')
    if ARGV[i + 2] ~= '' and ARGV[i + 2] ~= (version or '0') then
      return {'conflict', tostring((i - first) / 6), version or '0'}
    end
    found[i] = version
  end
  local answer = {'ok'}
  for i = first, last, 6 do
    local key = ARGV[i + 1]
    if ARGV[i] == 'put' then
      local record = base .. ':r:' .. key
      local version = changed('put', key)
      redis.call('DEL', record)
      if ARGV[i + 5] ~= '' then
        local expires = string.format('%.0f', now + ARGV[i + 5])
        redis.call('HSET', record, 'v', ARGV[i + 3], 'm', ARGV[i + 4], 'n', version, 'e', expires)
        redis.call('PEXPIREAT', record, expires)
        redis.call('ZADD', base .. ':x', expires, key)
      else
        redis.call('HSET', record, 'v', ARGV[i + 3], 'm', ARGV[i + 4], 'n', version)
        redis.call('ZREM', base .. ':x', key)
      end
      redis.call('ZADD', base .. ':i', 0, key)
      answer[#answer + 1] = version
    elseif found[i] then
      answer[#answer + 1] = remove('delete', key)
    else
      answer[#answer + 1] = '0'
    end
  end
  return answer
end

local answers, at = {}, 1
while at <= #ARGV do
  local last = at + 6 * ARGV[at]
  local done, answer = pcall(apply, at + 1, last)
  if not done then answer = {'error', type(answer) == 'table' and answer.err or tostring(answer)} end
  answers[#answers + 1] = answer
  at = last + 1
end
return answers
"""
)

# ARGV: keys. Gives of each value, metadata, version and expiry, as of one moment.
READ = """
local answer = {}
for i, key in ipairs(ARGV) do
  answer[i] = redis.call('HMGET', KEYS[1] .. ':r:' .. key, 'v', 'm', 'n', 'e')
end
return answer
"""

# ARGV: from, to (as ZRANGE BYLEX has them), 'REV' or '', limit, suffix, '1' with values, bytes of values, keys to look at.
# Gives {keys looked at, the last one, key, value, metadata, version, expiry, key, ...}.
SCAN = (
    _COMMON
    + """
sweep()
local from, to, limit, suffix, budget = ARGV[1], ARGV[2], tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[7])
local keys
if ARGV[3] == 'REV' then
  keys = redis.call('ZRANGE', base .. ':i', to, from, 'BYLEX', 'REV', 'LIMIT', 0, ARGV[8])
else
  keys = redis.call('ZRANGE', base .. ':i', from, to, 'BYLEX', 'LIMIT', 0, ARGV[8])
end
local answer = {0, ''}
local size, count, looked = 0, 0, 0
for _, key in ipairs(keys) do
  if count >= limit or size >= budget then break end
  looked = looked + 1
  answer[2] = key
  if suffix == '' or string.sub(key, -#suffix) == suffix then
    local record = redis.call('HMGET', base .. ':r:' .. key, ARGV[6] == '1' and 'v' or 'none', 'm', 'n', 'e')
    if record[3] then
      count = count + 1
      size = size + #(record[1] or '')
      answer[#answer + 1] = key
      answer[#answer + 1] = record[1] or ''
      answer[#answer + 1] = record[2]
      answer[#answer + 1] = record[3]
      answer[#answer + 1] = record[4] or ''
    end
  end
end
answer[1] = looked
return answer
"""
)

# Gives how many expired records it removed.
SWEEP_DUE = _COMMON + "return sweep()\n"

# Gives which server this is: another one after each start, and after a failover.
SERVER = "return string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')"
