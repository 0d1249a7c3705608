-- Decides the rules from the i-th on. `all_allowed` is the decision of the rules before it. Returns whether
-- all rules allow the request, and the answers; or nil and the error, before anything is written.
--
-- The function calls itself for the next rule between its decision and its charge. So all rules have decided
-- before the first one is charged, and the states of the rules are kept as locals and not in tables.
local function acquire(i, all_allowed)
  if i > #KEYS then
    return all_allowed, ''
  end
  local key, reply = KEYS[i], nil
  local kind, limit, window, capacity, block, cost, max_delay, charged_at, level, level_part =
    struct.unpack(refunds and '>Bddddddddd' or '>Bdddddd', ARGV[i + 2])

  -- 1. Advance the state to the current time, and decide.
  --
  -- A state is a tag (the number of its algorithm plus flags), and then integers, each as a big-endian double:
  --
  --   fixed window            start, used, window
  --   sliding window counter  start, previous count, current count, window
  --   sliding window log      a list: its header (sum, newest, base, last, window), then its entries
  --   both buckets            with the number of the token bucket: tokens, part of a token, time, window, rate
  --     RECEIPT_OFFSET        then the offset (tokens, part), and its start time
  --     FREED_SLOTS           then up to 16 slots: from (tokens, part), to (tokens, part)
  --   MIXED                   states of several algorithms, each after its length in two bytes; if one is a log,
  --                           they are in the header of its list
  --   BLOCKED                 at the end: the end of the block, and its length
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
