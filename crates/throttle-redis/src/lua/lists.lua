-- Keeps the allow and the deny list that servers share, each as a sorted set of entries by the
-- millisecond at which they end, and a stream of the latest changes, by which servers keep copies.
--
--   KEYS  allow, deny, changes
--   ARGV  'add', list (1 allow, 2 deny), entry, milliseconds ('' until removed), most entries
--         'remove', list, entry
--         'changes', ID of the last change that is known ('' asks for the ID of the latest)
--         'page', list, score and entry of the last one that was read ('' for the first page)
--
-- The ID of no change at all is 0-0. Answers are texts and begin with the time in milliseconds.

local CHANGES_KEPT = 10000
local CHANGES_READ = 500
local PAGE, PAGE_BYTES = 500, 65536
-- How many entries that ended one call removes: together calls remove more than they add.
local REMOVED = 100
-- How long the changes are kept after the last entry was removed, for servers to see that.
local AFTER_LAST = 60000

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local text = function(number) return string.format('%.0f', number) end

if ARGV[1] == 'changes' then
  if ARGV[2] == '' then
    local latest = redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)[1]
    return {text(now), latest and latest[1] or '0-0'}
  end
  local changes = redis.call('XRANGE', KEYS[3], ARGV[2], '+', 'COUNT', CHANGES_READ)
  -- What is known is not there any more after a failover, on another server, and where too much came since.
  if (changes[1] and changes[1][1] or '0-0') ~= ARGV[2] then
    return {text(now)}
  end
  local answer = {text(now), changes[1] and changes[#changes][1] or '0-0'}
  for i = 2, #changes do
    local fields = changes[i][2] -- list, entry and end, each after its name
    answer[#answer + 1], answer[#answer + 2], answer[#answer + 3] = fields[2], fields[4], fields[6]
  end
  return answer
end

if ARGV[1] == 'page' then
  local key, score, entry = KEYS[tonumber(ARGV[2])], ARGV[3], ARGV[4]
  local from
  if score == '' then
    from = redis.call('ZCOUNT', key, '-inf', now) -- what ended comes first
  elseif redis.call('ZSCORE', key, entry) == score then
    from = redis.call('ZRANK', key, entry) + 1
  else
    from = redis.call('ZCOUNT', key, '-inf', '(' .. score)
  end
  local answer, bytes = {text(now), ''}, 0
  local page = redis.call('ZRANGE', key, from, from + PAGE - 1, 'WITHSCORES')
  for i = 1, #page, 2 do
    answer[i + 2], answer[i + 3] = page[i], page[i + 1]
    bytes = bytes + #page[i]
    if bytes > PAGE_BYTES then break end
  end
  local last = from + (#answer - 2) / 2
  answer[2] = last < redis.call('ZCARD', key) and 'more' or 'end'
  return answer
end

-- Forgets what ended, and has the list itself end with its last entry; returns when that is.
local function trim(key)
  local ended = redis.call('ZRANGEBYSCORE', key, '-inf', now, 'LIMIT', 0, REMOVED)
  if #ended > 0 then
    redis.call('ZREM', key, unpack(ended))
  end
  local last = redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')[2]
  if last == 'inf' then
    redis.call('PERSIST', key)
  elseif last then
    redis.call('PEXPIREAT', key, last)
  end
  return last == 'inf' and math.huge or tonumber(last) or 0
end

local key, entry = KEYS[tonumber(ARGV[2])], ARGV[3]
local score = redis.call('ZSCORE', key, entry)
local ends
if ARGV[1] == 'add' then
  trim(KEYS[1])
  trim(KEYS[2])
  if not score and redis.call('ZCARD', KEYS[1]) + redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[5]) then
    return {text(now), 'full'}
  end
  ends = ARGV[4] == '' and 'inf' or text(now + ARGV[4])
  redis.call('ZADD', key, ends, entry)
else
  if not score or (score ~= 'inf' and tonumber(score) <= now) then
    return {text(now), 'absent'}
  end
  ends = '0'
  redis.call('ZREM', key, entry)
end
redis.call('XADD', KEYS[3], 'MAXLEN', '~', CHANGES_KEPT, '*', 'list', ARGV[2], 'entry', entry, 'ends', ends)
local last = math.max(trim(KEYS[1]), trim(KEYS[2]))
if last == math.huge then
  redis.call('PERSIST', KEYS[3])
else
  redis.call('PEXPIREAT', KEYS[3], text(last > 0 and last or now + AFTER_LAST))
end
return {text(now), 'done'}
