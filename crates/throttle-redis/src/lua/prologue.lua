-- Settles the rules from the i-th on, when all before it have been asked: returns whether all admit,
-- and the answers; or nothing, and what is wrong, before anything is written.
local function settle(i, admitted)
  if i > #KEYS then
    return admitted, ''
  end
  local key, reply = KEYS[i], nil
  local kind, limit, window, capacity, block, cost, longest, mark, level, rest =
    struct.unpack(refunds and '>Bddddddddd' or '>Bdddddd', ARGV[i + 2])

  -- 1. Bring every state to now, and ask it.
  --
  -- A state is a tag (its algorithm's number, and flags), then whole numbers, each as a big-endian double:
  --
  --   fixed window            start, used
  --   sliding window counter  start, previous count, current count
  --   sliding window log      a list: its header (sum, newest, base, last), then its entries
  --   both buckets            with the number of the token bucket: tokens, part of a token, moment, window, rate
  --     RECEIPT_OFFSET        then the offset (tokens, part), since when
  --     FREED_SLOTS           then up to 16 slots: from (tokens, part), to (tokens, part)
  --   BLOCKED                 at the end: until, length
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

  -- A rule that was replaced by one of another algorithm starts anew, but what is shut stays shut.
  local number = kind == LEAKY_BUCKET and TOKEN_BUCKET or kind
  local exists, opens, length, ahead, flag, beside_size = value, 0, 0, false, 0, 0
  if value then
    local tag, size = value:byte() or 0, #value - 1
    local has_block = tag >= BLOCKED
    if has_block then
      tag, size = tag - BLOCKED, size - 16
    end
    if tag >= RECEIPT_OFFSET then
      tag, flag = tag - RECEIPT_OFFSET, RECEIPT_OFFSET
    elseif tag >= FREED_SLOTS then
      tag, flag = tag - FREED_SLOTS, FREED_SLOTS
    end
    local least = tag == FIXED_WINDOW and 16 or tag == SLIDING_WINDOW_COUNTER and 24
      or tag == SLIDING_WINDOW_LOG and 32 or tag == TOKEN_BUCKET and 40 or math.huge
    beside_size = size - least
    local fits = beside_size == 0
    if flag > 0 then
      fits = tag == TOKEN_BUCKET and (flag == RECEIPT_OFFSET and beside_size == 24
        or flag == FREED_SLOTS and beside_size % 32 == 0 and beside_size > 0 and beside_size <= 512)
    end
    if not fits or is_list ~= (tag == SLIDING_WINDOW_LOG) then
      return nil, i .. ': it is no state'
    end
    if has_block then
      opens, length = struct.unpack('>dd', value, size + 2)
      if not (is_whole(opens) and is_whole(length)) then
        return nil, i .. ': its block is out of range'
      end
      opens, length, ahead = advance_block(opens, length)
    end
    if tag ~= number then
      value, flag = nil, 0
    end
  end

  -- It is not asked when it is shut, or for more than it ever gives (no wait helps), or to give back.
  local allowed, wait = refunds or opens == 0 and cost <= capacity, nil
  if opens > 0 and cost <= capacity then
    wait = opens - now
  end
  local asks = allowed and not refunds

  -- What an algorithm tells: whether it charged and its receipt, where the key stands, the numbers of
  -- its state, and for a log what becomes of its entries.
  local charges, level_hi, level_lo, remaining, reset_after, lifetime, format, a, b, c, d, e, beside
  local fresh, dropped, cut, place, replaced, removed, entry
