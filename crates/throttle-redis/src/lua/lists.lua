-- Keeps the allow and the deny list that servers share, each as a sorted set of entries by the
-- millisecond at which they end, and a version that changes with them.
--
--   KEYS  allow, deny, version
--   ARGV  'load', version known | 'add' | 'remove', list ('1' allow, '2' deny), entry, milliseconds ('' for good)

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- Forgets what ended, and has the list itself end with its last entry; returns when that is.
local function trim(key)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
  local last = redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')[2]
  if last == 'inf' then
    redis.call('PERSIST', key)
  elseif last then
    redis.call('PEXPIREAT', key, last)
  end
  return last == 'inf' and math.huge or tonumber(last) or 0
end

if ARGV[1] == 'load' then
  local version = redis.call('GET', KEYS[3]) or ''
  if version == ARGV[2] then
    return {version}
  end
  local all = {version}
  for list = 1, 2 do
    local entries = redis.call('ZRANGE', KEYS[list], 0, -1, 'WITHSCORES')
    for i = 1, #entries, 2 do
      local left = entries[i + 1] == 'inf' and '' or string.format('%.0f', entries[i + 1] - now)
      if left == '' or tonumber(left) > 0 then
        all[#all + 1] = tostring(list)
        all[#all + 1] = entries[i]
        all[#all + 1] = left
      end
    end
  end
  return all
end

local key = KEYS[tonumber(ARGV[2])]
local changed
if ARGV[1] == 'add' then
  local ends = ARGV[4] == '' and '+inf' or string.format('%.0f', now + ARGV[4])
  redis.call('ZADD', key, ends, ARGV[3])
  changed = 1
else
  changed = redis.call('ZREM', key, ARGV[3])
end
local last = math.max(trim(KEYS[1]), trim(KEYS[2]))
if last == 0 then
  redis.call('UNLINK', KEYS[3])
else
  redis.call('SET', KEYS[3], time[1] .. '.' .. time[2] .. '.' .. ARGV[3])
  if last < math.huge then
    redis.call('PEXPIREAT', KEYS[3], string.format('%.0f', last))
  end
end
return changed
