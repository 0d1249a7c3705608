-- The shared allow list and deny list, each as a sorted set of entries. The score of an entry is the time in
-- milliseconds at which it ends. A stream has the latest changes, from which servers update their copies.
--
--   KEYS  allow, deny, changes
--   ARGV  'add', list (1 allow, 2 deny), entry, milliseconds ('' until removed), most entries
--         'remove', list, entry
--         'changes', ID of the last known change ('' returns the ID of the latest change)
--         'page', list, score and entry of the last entry that was read ('' for the first page)
--
-- The ID before the first change is 0-0. Answers are lists of texts, and the first is the time in milliseconds.

local CHANGES_KEPT = 10000
local CHANGES_READ = 500
local PAGE, PAGE_BYTES = 500, 65536
-- The most expired entries that one call removes. A call adds one entry at most, so the list cannot fill up with
-- expired entries.
local REMOVED = 100
-- The time in milliseconds that the changes are kept after the last entry was removed, so that servers see its
-- removal.
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
  -- The known change is missing after a failover, on another server, and after too many newer changes.
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
    from = redis.call('ZCOUNT', key, '-inf', now) -- expired entries come first
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

-- Removes expired entries, sets the expiry of the list to the end of its last entry, and returns that time.
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
