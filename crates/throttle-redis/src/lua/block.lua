-- The block of a key after a denial: its end (0 if the key is not blocked) and its length. With the length, a
-- clock that steps back does not extend the block.

-- Advances a block to the current time. Also returns whether the block starts in the future.
local function advance_block(blocked_until, block_length)
  local ahead = blocked_until > now + block_length
  if ahead then
    blocked_until = now + block_length
  end
  if blocked_until <= now then
    return 0, 0, ahead
  end
  return blocked_until, block_length, ahead
end

-- Returns the end and the length of a new block: the rule's block, or the wait if that is longer, but at most
-- 31 years.
local function start_block(block, wait)
  local span = block > wait and block or wait
  span = span < 1000000000000000 and span or 1000000000000000
  return now + span, span
end

