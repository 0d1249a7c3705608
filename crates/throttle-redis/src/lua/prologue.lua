-- Settles the rules from the i-th on, when all before it have been asked: returns whether all admit,
-- and the answers; or nothing, and what is wrong, before anything is written.
local function acquire(i, all_allowed)
  if i > #KEYS then
    return all_allowed, ''
  end
  local key, reply = KEYS[i], nil
  local kind, limit, window, capacity, block, cost, max_delay, charged_at, level, level_part =
    struct.unpack(refunds and '>Bddddddddd' or '>Bdddddd', ARGV[i + 2])

  -- 1. Bring every state to now, and ask it.
  --
  -- A state is a tag (its algorithm's number, and flags), then whole numbers, each as a big-endian double:
  --
  --   fixed window            start, used, window
  --   sliding window counter  start, previous count, current count, window
  --   sliding window log      a list: its header (sum, newest, base, last, window), then its entries
  --   both buckets            with the number of the token bucket: tokens, part of a token, moment, window, rate
  --     RECEIPT_OFFSET        then the offset (tokens, part), since when
  --     FREED_SLOTS           then up to 16 slots: from (tokens, part), to (tokens, part)
  --   MIXED                   states of several algorithms: of each its block_length in two bytes, then itself; with
  --                           one of a log it is the header of that
  --   BLOCKED                 at the end: until, block_length
  local value, entries
  local is_list = kind == SLIDING_WINDOW_LOG
  if is_list then
    entries = redis.pcall('LRANGE', key, 0, 3)
    value = entries.err and entries or entries[1]
  else
    value = redis.pcall('GET', key)
  end
  if value and value.err then
    if not value.err:find('WRONGTYPE', 1, true) then
      return nil, value
    end
    value = is_list and redis.pcall('GET', key) or redis.pcall('LINDEX', key, 0)
    is_list = not is_list
    if value.err then
      return nil, i .. ': it is neither a string nor a list'
    end
  end

  local number = kind == LEAKY_BUCKET and TOKEN_BUCKET or kind
  local exists, blocked_until, block_length, ahead, flag, extra_size = value, 0, 0, false, 0, 0
  local others, others_left, others_list = nil, 0, false
  if value then
    local tag, size = value:byte() or 0, #value - 1
    if tag >= BLOCKED then
      tag, size = tag - BLOCKED, size - 16
      if size >= 0 then
        blocked_until, block_length = struct.unpack('>dd', value, size + 2)
        if not (is_whole(blocked_until) and is_whole(block_length) and block_length <= 1000000000000000) then
          return nil, i .. ': its block is out of range'
        end
        blocked_until, block_length, ahead = advance_block(blocked_until, block_length)
      end
    end
    local has_list = tag == SLIDING_WINDOW_LOG
