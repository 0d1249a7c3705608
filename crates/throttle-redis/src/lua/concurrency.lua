-- The permits of a concurrency limit, as a sorted set. The score of a permit is the time in milliseconds at which
-- its lease expires.
--
--   KEYS  permits
--   ARGV  'take', lease in milliseconds, limit, permit | 'renew' or 'restore', lease, permits … | 'count'

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local key = KEYS[1]

if ARGV[1] == 'take' or ARGV[1] == 'count' then
  -- Permits that were not renewed are free.
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
  local in_use = redis.call('ZCARD', key)
  if ARGV[1] == 'count' or in_use >= tonumber(ARGV[3]) then
    return {0, in_use}
  end
end

local ends = string.format('%.0f', now + ARGV[2])
local absent = {}
if ARGV[1] == 'take' then
  redis.call('ZADD', key, ends, ARGV[4])
else
  for i = 3, #ARGV do
    -- A renewal must not bring back a permit that was released meanwhile.
    if ARGV[1] == 'restore' or redis.call('ZSCORE', key, ARGV[i]) then
      redis.call('ZADD', key, ends, ARGV[i])
    else
      absent[#absent + 1] = ARGV[i]
    end
  end
end
-- The set expires with its last permit. Servers may have different leases, so that is not always this one.
local last = redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')[2]
if last then
  redis.call('PEXPIREAT', key, last)
end
if ARGV[1] == 'take' then
  return {1, redis.call('ZCARD', key)}
end
return absent
